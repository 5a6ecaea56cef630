"""Queries: accept them, park those that wait for an upload, store one answer each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from core.storage.delivery.listing import DeliveryStatus, of_query
from core.storage.stream.changes import noting_queries
from core.transaction import Transaction
from schemas.callback import CallbackRequested
from schemas.query import QuerySubmitted
from schemas.token import Token

_ACCEPT = f"""
WITH changed AS (
    INSERT INTO queries (query_id, owner, text, callback_url, options, fingerprint, status)
    VALUES ($1, $2, $3, $4, $5::jsonb, $6, 'accepted')
    ON CONFLICT (query_id) DO NOTHING
    RETURNING query_id
), told AS ({noting_queries()})
SELECT query_id FROM changed
"""  # noqa: S608 - a constant
_FINGERPRINT = "SELECT fingerprint, deleted_at FROM queries WHERE query_id = $1"

_STATUS = """
SELECT query_id, owner, text, callback_url, options, status, answer->>'type' AS outcome, answer,
       accepted_at, answered_at
FROM queries WHERE query_id = $1 AND deleted_at IS NULL
"""

# The first answer wins: a replay may find other images and must change nothing. A query accepted by
# HTTP has a fingerprint: a record on the topic that has its id, but another text or address, does
# not answer it.
_ANSWER = f"""
WITH changed AS (
INSERT INTO queries (query_id, text, callback_url, options, status, answer, answered_at)
SELECT u.query_id, u.text, u.url, u.options::jsonb, 'answered', u.answer::jsonb, now()
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
     AS u (query_id, text, url, options, answer)
ORDER BY u.query_id
ON CONFLICT (query_id) DO UPDATE SET
    status = 'answered', answer = excluded.answer, answered_at = now()
WHERE queries.status <> 'answered'
  AND (queries.fingerprint IS NULL
       OR (queries.text, queries.callback_url) = (excluded.text, excluded.callback_url))
RETURNING query_id, owner,
          extract(epoch FROM now() - accepted_at)::float8 AS waited_s
), told AS ({noting_queries()})
SELECT * FROM changed
"""  # noqa: S608 - a constant

_WAIT = f"""
WITH changed AS (
INSERT INTO queries (query_id, text, callback_url, options, status)
SELECT u.query_id, u.text, u.url, u.options::jsonb, 'waiting'
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
     AS u (query_id, text, url, options)
ORDER BY u.query_id
ON CONFLICT (query_id) DO UPDATE SET status = 'waiting' WHERE queries.status = 'accepted'
  AND (queries.fingerprint IS NULL
       OR (queries.text, queries.callback_url) = (excluded.text, excluded.callback_url))
RETURNING query_id
), told AS ({noting_queries()})
SELECT query_id FROM changed
"""  # noqa: S608 - a constant
_PARK = """
INSERT INTO parked_queries (query_id, topic, part, log_offset, outbox_id, event, deadline)
SELECT u.query_id, u.topic, u.part, u.log_offset, u.outbox_id, u.event::jsonb,
       now() + $7::interval
FROM unnest($1::uuid[], $2::text[], $3::int4[], $4::int8[], $5::int8[], $6::text[])
     AS u (query_id, topic, part, log_offset, outbox_id, event)
ON CONFLICT (query_id) DO NOTHING
"""

# A place has been passed when the progress of its topic's group lies behind it, and its image is
# not parked. A place that only names an outbox row becomes known when the sweeper publishes it.
_PLACES = """
LEFT JOIN outbox_places o ON o.outbox_id = u.outbox_id
LEFT JOIN progress g ON g.grp = ANY($1) AND g.topic = coalesce(u.topic, o.topic)
                    AND g.part = coalesce(u.part, o.part)
LEFT JOIN parked_places k ON k.topic = coalesce(u.topic, o.topic)
                    AND k.part = coalesce(u.part, o.part)
                    AND k.log_offset = coalesce(u.log_offset, o.log_offset)
"""
_HAS_PASSED = "(g.next_offset > coalesce(u.log_offset, o.log_offset) AND k.image_id IS NULL)"
_READY = f"""
SELECT u.query_id, u.event::text AS event, {_HAS_PASSED} IS NOT TRUE AS expired
FROM parked_queries u {_PLACES}
WHERE (u.deadline <= now() OR {_HAS_PASSED})
  AND NOT EXISTS (SELECT FROM promotions WHERE settled_at IS NULL)
ORDER BY u.deadline LIMIT $2
"""  # noqa: S608 - constants only
_CLUSTERS = "SELECT DISTINCT cluster_id FROM progress WHERE cluster_id <> ''"
_COUNT_PARKED = "SELECT count(*) FROM parked_queries"
_UNPARK = "DELETE FROM parked_queries WHERE query_id = ANY($1::uuid[])"
_PASSED = f"""
SELECT coalesce({_HAS_PASSED}, false) AS passed
FROM unnest($2::text[], $3::int4[], $4::int8[], $5::int8[])
     WITH ORDINALITY AS u (topic, part, log_offset, outbox_id, n)
{_PLACES}
ORDER BY u.n
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """What is known of a query that was answered now.

    Attributes:
        owner: of the key that asked by HTTP; None for a record that somebody else put on the
            topic, whatever it says.
        waited_s: since it was accepted; 0 where nobody had heard of it before.
    """

    owner: str | None
    waited_s: float


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """All that is known of one query.

    Attributes:
        status: `accepted`, `waiting` (for an upload) or `answered`.
        outcome: type of the answer; None until answered.
        answer: the callback event; None until answered, and in lists.
        deliveries: webhooks of the answer with their attempts, oldest first; none in lists.
    """

    query_id: UUID
    owner: str | None
    text: str
    callback_url: str
    options: dict[str, Any]
    status: str
    outcome: str | None
    accepted_at: datetime
    answered_at: datetime | None
    answer: dict[str, Any] | None = None
    deliveries: tuple[DeliveryStatus, ...] = ()


async def accept(  # noqa: PLR0913 - keyword-only: the columns of one row
    tx: Transaction,
    *,
    query_id: UUID,
    owner: str | None,
    text: str,
    callback_url: str,
    options: dict[str, Any],
    fingerprint: bytes | None = None,
) -> Literal["new", "same", "other", "deleted"]:
    """Keep a query; `same` or `other` (by fingerprint) where the id was accepted before."""
    row = (query_id, owner, text, callback_url, json.dumps(options), fingerprint)
    while await tx.fetchval(_ACCEPT, *row) is None:
        known = await tx.fetchrow(_FINGERPRINT, query_id)
        if known is None:  # pruned between the two statements: the id is free
            continue
        if known["deleted_at"] is not None:
            return "deleted"
        return "same" if known["fingerprint"] == fingerprint else "other"
    return "new"


async def status(connection: Transaction, query_id: UUID) -> QueryStatus | None:
    """Return all that is known of a query, its deliveries included; None if it is unknown."""
    row = await connection.fetchrow(_STATUS, query_id)
    if row is None:
        return None
    values = dict(row)
    for column in ("options", "answer"):
        if isinstance(values[column], str):
            values[column] = json.loads(values[column])
    return QueryStatus(**values, deliveries=await of_query(connection, query_id))


async def answer(
    tx: Transaction, answers: Sequence[tuple[QuerySubmitted, CallbackRequested]]
) -> dict[UUID, NewAnswer]:
    """Store answers; return the queries that had none before. The others keep their first one.

    It has no owner: the ingress has stored that of queries by HTTP, and a direct producer's query
    has none, whatever its record claims.
    """
    if not answers:
        return {}
    rows = await tx.fetch(
        _ANSWER,
        [event.query_id for _, event in answers],
        [query.text for query, _ in answers],
        [query.callback_url for query, _ in answers],
        [_options(query) for query, _ in answers],
        [event.model_dump_json(exclude_none=True) for _, event in answers],
    )
    return {row["query_id"]: NewAnswer(row["owner"], row["waited_s"]) for row in rows}


async def park(
    tx: Transaction, waiting: Sequence[tuple[QuerySubmitted, Token]], wait_s: float
) -> None:
    """Let queries wait for uploads, at most `wait_s` seconds; those that are answered stay so.

    Args:
        tx: the transaction.
        waiting: queries with their ids, none twice, and the tokens of the uploads.
        wait_s: how long.
    """
    rows = await tx.fetch(
        _WAIT,
        [query.query_id for query, _ in waiting],
        [query.text for query, _ in waiting],
        [query.callback_url for query, _ in waiting],
        [_options(query) for query, _ in waiting],
    )
    held = {row["query_id"] for row in rows}
    parked = [one for one in waiting if one[0].query_id in held]
    await tx.execute(
        _PARK,
        [query.query_id for query, _ in parked],
        [token.topic for _, token in parked],
        [token.partition for _, token in parked],
        [token.offset for _, token in parked],
        [token.outbox_id for _, token in parked],
        [query.model_dump_json() for query, _ in parked],
        timedelta(seconds=wait_s),
    )


async def count_parked(connection: Transaction) -> int:
    """Return how many queries wait for an upload."""
    return int(await connection.fetchval(_COUNT_PARKED))


async def passed(
    connection: Transaction, tokens: Sequence[Token], groups: Sequence[str]
) -> list[bool]:
    """Return for each upload whether its event was dealt with.

    One whose image is parked has not been dealt with.

    Args:
        connection: to PostgreSQL.
        tokens: of the uploads.
        groups: of the topics of arrivals, no two of the same topic.
    """
    rows = await connection.fetch(
        _PASSED,
        list(groups),
        [token.topic for token in tokens],
        [token.partition for token in tokens],
        [token.offset for token in tokens],
        [token.outbox_id for token in tokens],
    )
    return [row["passed"] for row in rows]


async def clusters(connection: Transaction) -> frozenset[str]:
    """Return the ids of the Kafka clusters that this installation's consumers read from.

    One, but for the time of a move; none before a consumer has first been given a partition.
    """
    return frozenset(row["cluster_id"] for row in await connection.fetch(_CLUSTERS))


async def ready(
    connection: Transaction, groups: Sequence[str], limit: int
) -> list[tuple[QuerySubmitted, bool]]:
    """Return parked queries whose upload was dealt with or whose time is over, the oldest first.

    Returns:
        (the query with its id, whether its time ran out before the upload was dealt with).
    """
    rows = await connection.fetch(_READY, list(groups), limit)
    return [
        (
            QuerySubmitted.model_validate_json(row["event"]).model_copy(
                update={"query_id": row["query_id"]}
            ),
            row["expired"],
        )
        for row in rows
    ]


async def unpark(tx: Transaction, query_ids: Sequence[UUID]) -> None:
    """Delete these queries from the parked ones."""
    await tx.execute(_UNPARK, list(query_ids))


def _options(query: QuerySubmitted) -> str:
    return query.options.model_dump_json(exclude_none=True)
