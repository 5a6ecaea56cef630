"""Dead letters that may go back on their topic. Table `dead_letters`, read side."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.storage.stream.outbox import headers_from_json
from core.transaction import Transaction
from schemas.record import Record

# Of an unreadable record only its place is stored; published again it would be empty.
# Quarantined copies are refused by the DLQ topic for their size; the original may still fit.
_WHERE = """
WHERE topic = $1 AND replayed_at IS NULL AND ($2::text IS NULL OR grp = $2)
  AND ($3::text IS NULL OR reason = $3) AND reason <> 'unreadable_record'
"""
_OPEN = f"""
SELECT id, topic, key, headers, value, reason, record_at FROM dead_letters
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


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters; None: whatever group or reason.

    Attributes:
        topic: the topic that they were on.
    """

    topic: str
    group: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class OpenLetter:
    """A dead letter that was not replayed, as it was on its topic.

    Attributes:
        record_at: the record's timestamp; None where it had none that a calendar has.
    """

    id: int
    reason: str
    record: Record
    record_at: datetime | None = None


async def newest(connection: Transaction, wanted: LetterFilter) -> int:
    """Return the id of the newest letter; 0 where there is none."""
    return int(await connection.fetchval(_NEWEST, wanted.topic, wanted.group, wanted.reason))


async def open_letters(
    connection: Transaction, wanted: LetterFilter, *, after: int, until: int, limit: int
) -> list[OpenLetter]:
    """Return letters that were not replayed, by id, from behind `after` up to `until`."""
    rows = await connection.fetch(
        _OPEN, wanted.topic, wanted.group, wanted.reason, after, until, limit
    )
    return [
        OpenLetter(
            row["id"],
            row["reason"],
            Record(row["topic"], row["key"], headers_from_json(row["headers"]), row["value"]),
            row["record_at"],
        )
        for row in rows
    ]


async def counts(connection: Transaction, wanted: LetterFilter) -> dict[str, int]:
    """Return how many letters there are, by reason."""
    rows = await connection.fetch(_COUNTS, wanted.topic, wanted.group, wanted.reason)
    return {row["reason"]: row["count"] for row in rows}


async def count_unreadable(connection: Transaction, wanted: LetterFilter) -> int:
    """Return how many letters cannot go back, since their bytes could not be read."""
    return int(await connection.fetchval(_UNREADABLE, wanted.topic, wanted.group))


async def mark_replayed(connection: Transaction, ids: Sequence[int]) -> None:
    """Mark these letters as published again."""
    if ids:
        await connection.execute(_MARK, list(ids))
