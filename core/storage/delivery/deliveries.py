"""Deliveries: the durable schedule of webhooks, with leases and attempts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from core.storage.delivery.lanes import Leased
from core.transaction import Transaction

# Of a query that was deleted nothing is sent; one that is there cannot be until we commit.
_INTAKE = """
WITH asked AS (
    SELECT query_id, deleted_at FROM queries WHERE query_id = ANY($2::uuid[])
    ORDER BY query_id FOR KEY SHARE
)
INSERT INTO deliveries (delivery_id, query_id, owner, host, url, event, state)
SELECT u.delivery_id, u.query_id, u.owner, u.host, u.url, u.event::jsonb, 'due'
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
     AS u (delivery_id, query_id, owner, host, url, event)
WHERE u.query_id NOT IN (SELECT query_id FROM asked WHERE deleted_at IS NOT NULL)
ORDER BY u.delivery_id
ON CONFLICT (delivery_id) DO NOTHING
"""

# Attempts beyond the schedule are only made by deaths: one more has its chance to be recorded.
_EXPIRE = """
WITH expired AS (
    SELECT delivery_id, attempt - attempts_before > $1 AS spent FROM deliveries
    WHERE state = 'leased' AND lease_until < now()
    ORDER BY lease_until LIMIT 500 FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET state = CASE WHEN spent THEN 'dead' ELSE 'due' END,
       token = NULL, lease_until = NULL, next_at = now(),
       reason = CASE WHEN spent THEN 'process_crashed' END,
       finished_at = CASE WHEN spent THEN now() END
FROM expired e WHERE d.delivery_id = e.delivery_id
RETURNING spent
"""

# A 2xx counts also where the lease has run out meanwhile: it happened, and ends the retries. The
# attempt is noted in any case, unless the query was deleted. One that is not charged is taken back
# and noted nowhere.
_SETTLE = """
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::interval[], $5::text[],
                         $6::int4[], $7::timestamptz[], $8::int4[], $9::int4[], $10::text[],
                         $11::text[], $12::bool[])
         AS g (delivery_id, token, state, pause, reason,
               attempt, started_at, took_ms, status, error, detail, charged)
), held AS (  -- before anything refers to them: one that is deleted meanwhile is left out
    SELECT d.delivery_id, d.token FROM deliveries d JOIN given USING (delivery_id)
    ORDER BY d.delivery_id FOR NO KEY UPDATE OF d
), noted AS (
    INSERT INTO attempts (delivery_id, attempt, started_at, took_ms, status, error, detail)
    SELECT g.delivery_id, g.attempt, g.started_at, g.took_ms, g.status, g.error, g.detail
    FROM given g JOIN held USING (delivery_id) WHERE g.charged
    ON CONFLICT (delivery_id, attempt) DO NOTHING
), last AS (  -- of two leases of one webhook: the 2xx, else that which still holds
    SELECT DISTINCT ON (delivery_id) g.* FROM given g JOIN held USING (delivery_id)
    ORDER BY delivery_id, (g.state = 'delivered') DESC,
             (g.token IS NOT DISTINCT FROM held.token) DESC
)
UPDATE deliveries d SET state = g.state, next_at = coalesce(now() + g.pause, d.next_at),
       reason = g.reason, token = NULL, lease_until = NULL,
       attempt = CASE WHEN g.charged THEN d.attempt ELSE d.attempt - 1 END,
       finished_at = CASE WHEN g.state IN ('delivered', 'dead') THEN now() END
FROM last g WHERE d.delivery_id = g.delivery_id
  AND (d.state = 'leased' AND d.token = g.token
       OR g.state = 'delivered' AND d.state <> 'delivered')
RETURNING d.delivery_id
"""

_OF_QUERY = """
SELECT d.delivery_id, d.url, d.host, d.state, d.attempt, d.next_at, d.reason, d.created_at,
       d.finished_at,
       coalesce((SELECT jsonb_agg(to_jsonb(a) - 'delivery_id' ORDER BY a.attempt)
                 FROM attempts a WHERE a.delivery_id = d.delivery_id), '[]')::text AS attempts
FROM deliveries d WHERE d.query_id = $1 ORDER BY d.created_at, d.delivery_id
"""

# Counted to a bound: a long backlog must not make looking at it dear.
_BACKLOG = """
SELECT count(*) AS due, coalesce(extract(epoch FROM now() - min(next_at)), 0)::float8 AS oldest_s
FROM (SELECT next_at FROM deliveries WHERE state = 'due' AND next_at <= now() LIMIT $1) d
"""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A webhook to be sent; `event` is the callback event as JSON."""

    delivery_id: UUID
    query_id: UUID
    owner: str | None
    host: str
    url: str
    event: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one try. `status` is HTTP's; `error` the class where there was no answer."""

    started_at: datetime
    took_ms: int
    status: int | None = None
    error: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """How a lease ends: `delivered`, `dead`, or `due` again at `next_at` (None: as it was).

    Attributes:
        charged: false: for a fault of our own, the lease is given back as if it had not been.
    """

    state: str
    next_at: datetime | None = None
    reason: str | None = None
    charged: bool = True


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """A webhook as people see it, with all its attempts."""

    delivery_id: UUID
    url: str
    host: str
    state: str
    attempt: int
    next_at: datetime | None
    reason: str | None
    created_at: datetime
    finished_at: datetime | None
    attempts: tuple[dict[str, Any], ...]


async def intake(tx: Transaction, deliveries: Sequence[NewDelivery]) -> None:
    """Put webhooks on the schedule, due at once; one that is there already stays as it is."""
    if deliveries:
        await tx.execute(
            _INTAKE,
            [item.delivery_id for item in deliveries],
            [item.query_id for item in deliveries],
            [item.owner for item in deliveries],
            [item.host for item in deliveries],
            [item.url for item in deliveries],
            [item.event for item in deliveries],
        )


async def expire_leases(tx: Transaction, *, attempts: int) -> tuple[int, int]:
    """Make webhooks due again whose lease ran out (the worker died).

    One that was tried more often than the schedule has `attempts`, and had no outcome, is given up
    (`process_crashed`): it may be what kills the workers. Gives how many are due and given up.
    """
    rows = await tx.fetch(_EXPIRE, attempts)
    given_up = sum(row["spent"] for row in rows)
    return len(rows) - given_up, given_up


async def settle(
    connection: Transaction, ended: Sequence[tuple[Leased, Attempt, Settled]]
) -> set[UUID]:
    """Record attempts and what follows of each; give those that were still ours to settle.

    One statement: what it does, it does for all of them.

    What is due again is so by PostgreSQL's clock, which also claims it: ours may be hours off.
    """
    now = datetime.now(UTC)
    columns = zip(
        *(
            (
                lease.delivery_id, lease.token, outcome.state,
                None if outcome.next_at is None else outcome.next_at - now, outcome.reason,
                lease.attempt, attempt.started_at, attempt.took_ms, attempt.status, attempt.error,
                attempt.detail, outcome.charged,
            )
            for lease, attempt, outcome in ended
        ),
        strict=True,
    )  # fmt: skip
    rows = await connection.fetch(_SETTLE, *columns)
    return {row["delivery_id"] for row in rows}


async def backlog(connection: Transaction, *, bound: int = 10_000) -> tuple[int, float]:
    """Return how many webhooks are due and not leased, up to `bound`, and the oldest one's wait."""
    row = await connection.fetchrow(_BACKLOG, bound)
    return (0, 0.0) if row is None else (row["due"], row["oldest_s"])


async def of_query(connection: Transaction, query_id: UUID) -> tuple[DeliveryStatus, ...]:
    """Return a query's webhooks with their attempts, oldest first."""
    rows = await connection.fetch(_OF_QUERY, query_id)
    return tuple(
        DeliveryStatus(**{**dict(row), "attempts": tuple(json.loads(row["attempts"]))})
        for row in rows
    )
