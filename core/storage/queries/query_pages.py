"""Queries page by page, the newest first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from core.storage.queries.queries import QueryStatus
from core.transaction import Transaction

Status = Literal["accepted", "waiting", "answered"]

_PAGE = """
SELECT query_id, owner, text, callback_url, options, status, answer->>'type' AS outcome,
       accepted_at, answered_at
FROM queries WHERE deleted_at IS NULL{conditions}
ORDER BY accepted_at DESC, query_id DESC LIMIT {limit}
"""
# Literals, so that PostgreSQL sees which of them the index of unanswered queries holds.
_STATUSES: dict[Status, str] = {
    "accepted": "status = 'accepted'",
    "waiting": "status = 'waiting'",
    "answered": "status = 'answered'",
}


@dataclass(frozen=True, slots=True)
class QueryFilter:
    """Which queries; None: all.

    Attributes:
        since: accepted at or after.
        until: accepted before.
        before: (accepted_at, query_id) of the last query of the page before.
    """

    owner: str | None = None
    status: Status | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: tuple[datetime, UUID] | None = None


async def page(connection: Transaction, wanted: QueryFilter, limit: int) -> Sequence[QueryStatus]:
    """Return at most `limit` queries without answers and webhooks, the newest first.

    By time and id, not by count: what arrives meanwhile neither repeats nor hides one.
    """
    query, arguments = statement(wanted, limit)
    return [
        QueryStatus(**{**dict(row), "options": json.loads(row["options"])})
        for row in await connection.fetch(query, *arguments)
    ]


def statement(wanted: QueryFilter, limit: int) -> tuple[str, tuple[object, ...]]:
    """Return the statement of a page and its parameters. Only what is asked for stands in it.

    A condition that allows for an absent parameter would keep PostgreSQL from its index.
    """
    arguments: list[object] = []

    def parameter(value: object) -> str:
        arguments.append(value)
        return f"${len(arguments)}"

    conditions = []
    if wanted.owner is not None:
        conditions.append(f"owner = {parameter(wanted.owner)}")
    if wanted.status is not None:
        conditions.append(_STATUSES[wanted.status])
    if wanted.since is not None:
        conditions.append(f"accepted_at >= {parameter(wanted.since)}")
    if wanted.until is not None:
        conditions.append(f"accepted_at < {parameter(wanted.until)}")
    if wanted.before is not None:
        place = ", ".join(parameter(value) for value in wanted.before)
        conditions.append(f"(accepted_at, query_id) < ({place})")
    query = _PAGE.format(
        conditions="".join(f" AND {condition}" for condition in conditions),
        limit=parameter(limit),
    )
    return query, tuple(arguments)
