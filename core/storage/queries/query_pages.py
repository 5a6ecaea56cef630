"""Queries page by page, with what became of their webhooks.

A page is read in an order that an index has, the newest query first, and looks at 20,000 rows at
most: what no index knows (a text, a host) may make it short, and the next one goes on behind the
last row that was looked at. States that few are in are read from the webhooks that are in them,
in the order in which these were made.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.storage.queries.query_looks import (
    BUDGET,
    MAX_COUNTED,
    QueryFilter,
    QueryLook,
    State,
    statement,
)
from core.transaction import Transaction

STOPPED = "stopped"  # why a webhook is `dead` that a person stopped


@dataclass(frozen=True, slots=True)
class ListedQuery:
    """A query, and what became of its newest webhook.

    Attributes:
        state: by what happens next.
        target: of the webhook; None: there is none yet.
        attempts: that were made.
        next_at: of an attempt that is due, now or later.
        waits_for: why it is not made now, as of `DeliveryStatus`.
        finished_at: when the webhook was delivered or given up.
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
    state: State
    target: str | None
    attempts: int
    next_at: datetime | None
    waits_for: str | None
    waits_until: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ListedQueries:
    """A page.

    Attributes:
        next: where the next page begins; None: there is none.
    """

    queries: Sequence[ListedQuery]
    next: tuple[datetime, UUID] | None


@dataclass(frozen=True, slots=True)
class Counted:
    """How many queries match; `is_exact` is False where there may be more."""

    queries: int
    is_exact: bool


def state_of(webhook: str | None, attempt: int, reason: str | None) -> State:
    """Return the state of a query whose newest webhook is so; None: it has none yet."""
    if webhook == "leased":
        return "in_flight"
    if webhook == "delivered":
        return "delivered"
    if webhook == "dead":
        return "stopped" if reason == STOPPED else "given_up"
    return "will_retry" if webhook == "due" and attempt else "waiting"


async def page(
    connection: Transaction, wanted: QueryFilter, limit: int, *, budget: int = BUDGET
) -> ListedQueries:
    """Return at most `limit` queries; fewer, even none, may come before the last page.

    By time and id, not by count: what arrives meanwhile neither repeats nor hides one.

    Args:
        budget: rows that are looked at.
    """
    query, arguments = statement(wanted, limit + 1, budget)
    rows = await connection.fetch(query, *arguments)
    queries = [_listed(row) for row in rows[:limit]]
    if len(rows) > limit:
        return ListedQueries(queries, (rows[limit - 1]["at"], rows[limit - 1]["place"]))
    look = QueryLook(wanted, budget)
    if not look.is_budgeted:
        return ListedQueries(queries, None)
    end, arguments = look.end()
    last = await connection.fetchrow(end, *arguments)
    return ListedQueries(queries, None if last is None else (last["at"], last["place"]))


async def count(connection: Transaction, wanted: QueryFilter, *, budget: int = BUDGET) -> Counted:
    """Return how many queries match, to 10,000, among the first 20,000 that are looked at."""
    query, arguments = QueryLook(wanted, budget).counting()
    row = await connection.fetchrow(query, *arguments)
    matched, scanned = (0, 0) if row is None else (row["matched"], row["scanned"])
    exact = matched <= MAX_COUNTED and scanned < budget  # of webhooks and of queries alike
    return Counted(min(matched, MAX_COUNTED), exact)


def _listed(row: Any) -> ListedQuery:
    due = row["webhook"] == "due"
    return ListedQuery(
        query_id=row["query_id"],
        owner=row["owner"],
        text=row["text"],
        callback_url=row["callback_url"],
        options=json.loads(row["options"]),
        status=row["status"],
        outcome=row["outcome"],
        accepted_at=row["accepted_at"],
        answered_at=row["answered_at"],
        state=state_of(row["webhook"], row["attempt"] or 0, row["reason"]),
        target=row["target"],
        attempts=row["attempt"] or 0,
        next_at=row["next_at"] if due else None,
        waits_for=row["waits_for"],
        waits_until=row["waits_until"],
        finished_at=row["finished_at"],
    )
