"""Events that must leave: rows written with their effect, deleted once Kafka has them."""

import base64
import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from core.errors import PermanentError
from core.storage.pool import Pool
from core.transaction import Transaction
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED

_ADD = """
INSERT INTO outbox (topic, key, headers, value)
SELECT topic, key, headers::jsonb, value
FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bytea[])
     WITH ORDINALITY AS row (topic, key, headers, value, position)
ORDER BY position
RETURNING id
"""
# Publishing happens inside the transaction that holds the locks: longer than others may idle.
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
# Two look-ups in the primary key; an upper bound, since ids in between may be gone.
_SPAN = "SELECT coalesce(max(id) - min(id) + 1, 0) FROM outbox"
_COUNT_UP_TO = "SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT $1) AS few"


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A row that waits to be published."""

    id: int
    record: Record


class PublishedAt(Protocol):
    """Where a record went (satisfied by `core.messaging.ports.Place`)."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102


class WaitingRow(Protocol):
    """A row as `lock_older` gave it."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def record(self) -> Record: ...  # noqa: D102


class _Columns(NamedTuple):
    topics: list[str]
    keys: list[bytes | None]
    headers: list[str]
    values: list[bytes]


class OutboxTable:
    """The table `outbox` and what becomes of its rows."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """An open transaction.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        return self._pool.transaction()

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[int]:
        """Write one row per record; give their ids, ascending, in the records' order."""
        if not records:
            return []
        columns = _Columns(
            [record.topic for record in records],
            [record.key for record in records],
            [headers_to_json(record.headers) for record in records],
            [record.value for record in records],
        )
        return [row["id"] for row in await tx.fetch(_ADD, *columns)]

    async def delete(self, ids: Sequence[int]) -> None:
        """Forget rows that Kafka has. Idempotent.

        Raises:
            DatabaseAway: PostgreSQL is away; the sweeper will publish them a second time.
        """
        if ids:
            await self._pool.execute(_DELETE, list(ids))

    async def lock_older(
        self, tx: Transaction, *, age_s: float, limit: int, after: int
    ) -> Sequence[OutboxRow]:
        """Lock up to `limit` rows of at least this age beyond id `after`, skipping locked ones."""
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
        self,
        tx: Transaction,
        published: Sequence[tuple[int, PublishedAt]],
        refused: Sequence[tuple[WaitingRow, PermanentError]],
    ) -> None:
        """Delete rows: an arrival leaves its place for tokens, a refused row a dead letter."""
        if refused:
            await tx.execute(
                _QUARANTINE,
                [row.id for row, _ in refused],
                [error.reason for _, error in refused],
                [storable(str(error)) for _, error in refused],
            )
        arrivals = [(id_, place) for id_, place in published if place.topic == IMAGES_ARRIVED.name]
        if arrivals:
            await tx.execute(
                _KEEP_PLACES,
                [id_ for id_, _ in arrivals],
                [place.topic for _, place in arrivals],
                [place.partition for _, place in arrivals],
                [place.offset for _, place in arrivals],
            )
        gone = [id_ for id_, _ in published] + [row.id for row, _ in refused]
        if gone:
            await tx.execute(_DELETE, gone)

    async def count(self, *, bound: int) -> int:
        """How many rows wait: exact up to `bound`, cheap while far below it.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        span: int = await self._pool.fetchval(_SPAN)
        if span <= bound:
            return span
        counted: int = await self._pool.fetchval(_COUNT_UP_TO, bound + 1)
        return counted


def headers_to_json(headers: Sequence[tuple[str, bytes]]) -> str:
    """Headers as `[[name, base64 of the value], ...]`; PostgreSQL holds no NUL in a name."""
    return json.dumps(
        [[storable(name), base64.b64encode(value).decode()] for name, value in headers]
    )


def headers_from_json(text: str) -> tuple[tuple[str, bytes], ...]:
    """The headers that `headers_to_json` wrote."""
    return tuple((name, base64.b64decode(value)) for name, value in json.loads(text))


def storable(text: str) -> str:
    """The text without what PostgreSQL refuses: NUL and lone surrogates become U+FFFD."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
