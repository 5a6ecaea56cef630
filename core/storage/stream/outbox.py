"""The outbox: events written with their effects, and deleted once Kafka has them."""

import base64
import json
from collections.abc import Sequence
from typing import NamedTuple

from core.errors import PermanentError
from core.offsets import OutboxRow, Place
from core.transaction import Transaction
from schemas.record import Record
from schemas.topics import Lane

_ARRIVALS = frozenset(lane.topic.name for lane in Lane)

_ADD = """
INSERT INTO outbox (topic, key, headers, value)
SELECT topic, key, headers::jsonb, value
FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bytea[])
     WITH ORDINALITY AS row (topic, key, headers, value, position)
ORDER BY position
RETURNING id
"""
# Rows are published inside the transaction that locks them, so it may idle longer than others.
_MAY_IDLE = "SELECT set_config('idle_in_transaction_session_timeout', '30s', true)"
_LOCK_OLDER = """
SELECT id, topic, key, headers, value FROM outbox
WHERE created_at <= now() - make_interval(secs => $1) AND id > $3
ORDER BY id
LIMIT $2
FOR UPDATE SKIP LOCKED
"""
_DELETE = "DELETE FROM outbox WHERE id = ANY($1::int8[])"
_KEEP_PLACES = """
INSERT INTO outbox_places (outbox_id, topic, part, log_offset)
SELECT * FROM unnest($1::int8[], $2::text[], $3::int4[], $4::int8[])
ON CONFLICT (outbox_id) DO NOTHING
"""
_QUARANTINE = """
INSERT INTO dead_letters
    (grp, topic, part, log_offset, key, headers, value, reason, detail, quarantined)
SELECT 'outbox', topic, -1, id, key, headers, value, reason, detail, true
FROM unnest($1::int8[], $2::text[], $3::text[]) AS refused (refused_id, reason, detail)
JOIN outbox ON outbox.id = refused_id
ON CONFLICT (grp, topic, part, log_offset, cluster_id) DO NOTHING
"""
# Two look-ups in the primary key. An upper bound, since ids in between may be gone.
_SPAN = "SELECT coalesce(max(id) - min(id) + 1, 0) FROM outbox"
_COUNT_UP_TO = "SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT $1) AS few"


class _Columns(NamedTuple):
    topics: list[str]
    keys: list[bytes | None]
    headers: list[str]
    values: list[bytes]


async def add(tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
    """Write one row per record; return them in the records' order, their ids ascending."""
    if not records:
        return []
    columns = _Columns(
        [record.topic for record in records],
        [record.key for record in records],
        [headers_to_json(record.headers) for record in records],
        [record.value for record in records],
    )
    ids = [row["id"] for row in await tx.fetch(_ADD, *columns)]
    return list(map(OutboxRow, ids, records))


async def delete(connection: Transaction, ids: Sequence[int]) -> None:
    """Forget rows that Kafka has. Idempotent: a row that stays is published once more."""
    if ids:
        await connection.execute(_DELETE, list(ids))


async def lock_older(tx: Transaction, *, age_s: float, limit: int, after: int) -> list[OutboxRow]:
    """Lock up to `limit` rows of at least this age beyond id `after`, and return them.

    Rows that someone else has locked are left out.
    """
    await tx.execute(_MAY_IDLE)
    rows = await tx.fetch(_LOCK_OLDER, age_s, limit, after)
    return [
        OutboxRow(
            row["id"],
            Record(row["topic"], row["key"], headers_from_json(row["headers"]), row["value"]),
        )
        for row in rows
    ]


async def settle(
    tx: Transaction,
    published: Sequence[tuple[OutboxRow, Place]],
    refused: Sequence[tuple[OutboxRow, PermanentError]],
) -> None:
    """Delete rows; store places of arrivals for tokens, and dead letters of refused rows."""
    if refused:
        await tx.execute(
            _QUARANTINE,
            [row.id for row, _ in refused],
            [error.reason for _, error in refused],
            [storable(str(error)) for _, error in refused],
        )
    arrivals = [(row.id, place) for row, place in published if place.topic in _ARRIVALS]
    if arrivals:
        await tx.execute(
            _KEEP_PLACES,
            [id_ for id_, _ in arrivals],
            [place.topic for _, place in arrivals],
            [place.partition for _, place in arrivals],
            [place.offset for _, place in arrivals],
        )
    await delete(tx, [row.id for row, _ in (*published, *refused)])


async def count(connection: Transaction, *, bound: int) -> int:
    """Return how many rows wait: exact up to `bound`, cheap while far below it."""
    span: int = await connection.fetchval(_SPAN)
    if span <= bound:
        return span
    counted: int = await connection.fetchval(_COUNT_UP_TO, bound + 1)
    return counted


def headers_to_json(headers: Sequence[tuple[str, bytes]]) -> str:
    """Return headers as `[[name, base64 of the value], ...]`, names as PostgreSQL can hold them."""
    return json.dumps(
        [[storable(name), base64.b64encode(value).decode()] for name, value in headers]
    )


def headers_from_json(text: str) -> tuple[tuple[str, bytes], ...]:
    """Return the headers that `headers_to_json` wrote."""
    return tuple((name, base64.b64decode(value)) for name, value in json.loads(text))


def storable(text: str) -> str:
    """Return the text as PostgreSQL can hold it: NUL becomes U+FFFD, half a surrogate pair `?`."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
