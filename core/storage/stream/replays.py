"""Dead letters that may go back on their topic. Table `dead_letters`, read side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.storage.stream.outbox import headers_from_json
from core.transaction import Transaction
from schemas.record import Record

# Of an unreadable record nothing was kept but its place: put back, it would be an empty record.
# Quarantined copies are refused by the DLQ topic for their size; the original may still fit.
_WHERE = """
WHERE topic = $1 AND replayed_at IS NULL AND ($2::text IS NULL OR grp = $2)
  AND ($3::text IS NULL OR reason = $3) AND reason <> 'unreadable_record'
"""
_OPEN = f"""
SELECT id, topic, key, headers, value, reason FROM dead_letters
{_WHERE} AND id > $4 AND id <= $5 ORDER BY id LIMIT $6
"""  # noqa: S608 - constants only
_NEWEST = f"SELECT coalesce(max(id), 0) FROM dead_letters {_WHERE}"  # noqa: S608
_COUNTS = f"SELECT reason, count(*) FROM dead_letters {_WHERE} GROUP BY reason"  # noqa: S608
_UNREADABLE = """
SELECT count(*) FROM dead_letters
WHERE topic = $1 AND replayed_at IS NULL AND reason = 'unreadable_record'
  AND ($2::text IS NULL OR grp = $2)
"""
_MARK = "UPDATE dead_letters SET replayed_at = now() WHERE id = ANY($1::int8[])"


class LetterFilter(Protocol):
    """Which letters (satisfied by `producers.replay.LetterFilter`)."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def group(self) -> str | None: ...  # noqa: D102
    @property
    def reason(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class OpenLetter:
    """A dead letter that was not replayed, as it was on its topic."""

    id: int
    reason: str
    record: Record


class OpenLetters:
    """Dead letters to be replayed."""

    def __init__(self, connection: Transaction) -> None:
        self._connection = connection

    async def newest(self, wanted: LetterFilter) -> int:
        """Return the id of the newest letter; 0 where there is none.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        return int(
            await self._connection.fetchval(_NEWEST, wanted.topic, wanted.group, wanted.reason)
        )

    async def open(
        self, wanted: LetterFilter, *, after: int, until: int, limit: int
    ) -> list[OpenLetter]:
        """Return letters by id from behind `after` up to `until`.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        rows = await self._connection.fetch(
            _OPEN, wanted.topic, wanted.group, wanted.reason, after, until, limit
        )
        return [
            OpenLetter(
                row["id"],
                row["reason"],
                Record(row["topic"], row["key"], headers_from_json(row["headers"]), row["value"]),
            )
            for row in rows
        ]

    async def counts(self, wanted: LetterFilter) -> dict[str, int]:
        """Return how many letters there are, by reason.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        rows = await self._connection.fetch(_COUNTS, wanted.topic, wanted.group, wanted.reason)
        return {row["reason"]: row["count"] for row in rows}

    async def count_unreadable(self, wanted: LetterFilter) -> int:
        """Return how many letters cannot go back, since their bytes could not be read.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        return int(await self._connection.fetchval(_UNREADABLE, wanted.topic, wanted.group))

    async def mark_replayed(self, ids: Sequence[int]) -> None:
        """Note that Kafka has these again.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        if ids:
            await self._connection.execute(_MARK, list(ids))
