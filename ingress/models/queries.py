"""What clients get of their queries beyond a single one: lists."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from ingress.models.responses import Output


class ListedQuery(Output):
    """A query, but for its answer and its webhooks."""

    query_id: UUID
    status: Literal["accepted", "waiting", "answered"]
    outcome: Literal["query.completed", "query.no_match", "query.failed"] | None = Field(
        description="Type of the answer; null until answered."
    )
    text: str
    callback_url: str
    options: dict[str, Any]
    accepted_at: datetime
    answered_at: datetime | None
    links: dict[str, str]


class QueryPage(Output):
    """Some queries."""

    queries: tuple[ListedQuery, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")
