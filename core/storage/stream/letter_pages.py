"""Dead letters page by page, the newest first. Table `dead_letters`; those that are still there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.storage.stream.outbox import headers_from_json
from core.transaction import Transaction
from schemas.topics import GROUPS

#: Groups are counted among so many of the newest, so that a flood does not make the page slow.
MAX_COUNTED = 10_000

# The values themselves are not read: PostgreSQL knows their length without.
_PAGE = """
SELECT id, grp AS "group", topic, part AS partition, log_offset AS "offset", key, headers,
       octet_length(value) AS size_bytes, reason, detail, quarantined, record_at, created_at
FROM dead_letters WHERE replayed_at IS NULL{conditions}
ORDER BY id DESC LIMIT {limit}
"""
_GROUPS = """
SELECT grp AS "group", topic, reason, count(*) AS letters, max(created_at) AS newest_at
FROM (SELECT grp, topic, reason, created_at FROM dead_letters
      WHERE replayed_at IS NULL ORDER BY id DESC LIMIT $1) AS newest
GROUP BY grp, topic, reason ORDER BY letters DESC, grp, topic, reason
"""


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which letters; None: all.

    Attributes:
        before: id of the last letter of the page before.
    """

    topic: str | None = None
    group: str | None = None
    reason: str | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class ListedLetter:
    """A dead letter without its value."""

    id: int
    group: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    size_bytes: int
    reason: str
    detail: str
    quarantined: bool
    record_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Letters of one consumer group and topic that were set aside for the same reason."""

    group: str
    topic: str
    reason: str
    letters: int
    newest_at: datetime


async def page(
    connection: Transaction, wanted: DeadLetterFilter, limit: int
) -> Sequence[ListedLetter]:
    """Return at most `limit` letters that were not replayed, the newest first."""
    query, arguments = statement(wanted, limit)
    return [
        ListedLetter(**{**dict(row), "headers": headers_from_json(row["headers"])})
        for row in await connection.fetch(query, *arguments)
    ]


async def groups(connection: Transaction) -> Sequence[LetterGroup]:
    """Count letters that were not replayed, among the newest 10,000; the most first."""
    rows = await connection.fetch(_GROUPS, MAX_COUNTED)
    return [LetterGroup(**dict(row)) for row in rows]


def statement(wanted: DeadLetterFilter, limit: int) -> tuple[str, tuple[object, ...]]:
    """Return the statement of a page and its parameters, with those conditions that are asked for.

    A group's topic is made a condition too: no index of open letters has the group, and each group
    reads one topic.
    """
    of_group = GROUPS.get(wanted.group or "")
    given = {
        "topic =": wanted.topic or (of_group.name if of_group else None),
        "grp =": wanted.group,
        "reason =": wanted.reason,
        "id <": wanted.before,
    }
    asked = {condition: value for condition, value in given.items() if value is not None}
    conditions = (f" AND {condition} ${number}" for number, condition in enumerate(asked, 1))
    query = _PAGE.format(conditions="".join(conditions), limit=f"${len(asked) + 1}")
    return query, (*asked.values(), limit)
