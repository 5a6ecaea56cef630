"""Queries as clients submit, list and delete them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from ingress.models.roots import Input, Output, examples
from schemas.query import (
    AfterToken,
    CallbackUrl,
    MinScore,
    Payload,
    QueryOptions,
    QueryText,
    TopN,
    check_order,
)
from schemas.strict import Moment


class QueryRequest(Input):
    """`POST /images/tags`: a sentence, and where its answer goes."""

    model_config = examples(
        {
            "text": "We are looking for cats on the beach",
            "callback_url": "https://example.org/hooks/photos",
        },
        {
            "text": "День Победы, ветераны",
            "callback_url": "https://example.org/hooks/photos",
            "top_n": 3,
            "min_score": 0.2,
            "payload": "link",
        },
    )

    text: QueryText
    callback_url: CallbackUrl = Field(
        description="Where the signed webhook is sent.", json_schema_extra={"format": "uri"}
    )
    top_n: TopN = Field(1, description="The best image whole, the others as links.")
    min_score: MinScore = 0.0
    date_from: Moment | None = Field(None, description="Taken at or after this time.")
    date_to: Moment | None = Field(None, description="Taken before this time.")
    after: AfterToken | None = Field(
        None, description="`token` of an upload: its tags are seen, or waited for."
    )
    payload: Payload = Field("inline", description="The picture as base64, or as a signed link.")

    @model_validator(mode="after")
    def _check_dates(self) -> "QueryRequest":
        check_order(self.date_from, self.date_to)
        return self

    def options(self) -> QueryOptions:
        """Return the options, as the event carries them."""
        return QueryOptions.model_validate(self, from_attributes=True)


class AcceptedQuery(Output):
    """A query that will be answered by a webhook."""

    query_id: UUID
    status: Literal["accepted"] = "accepted"
    links: dict[str, str]


class ShownAttempt(Output):
    """One attempt to deliver a webhook."""

    attempt: int
    started_at: datetime
    took_ms: int | None = None
    status: int | None = Field(None, description="HTTP status of the target, if it answered.")
    error: str | None = None
    detail: str | None = None


class ShownDelivery(Output):
    """A webhook and its attempts."""

    delivery_id: UUID = Field(description="The `webhook-id` on the wire.")
    url: str
    state: Literal["due", "leased", "delivered", "dead"]
    attempt: int
    next_at: datetime | None = None
    reason: str | None = None
    finished_at: datetime | None = None
    attempts: tuple[ShownAttempt, ...] = ()


class QuerySummary(Output):
    """A query, without its answer and its webhooks."""

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


class ShownQuery(QuerySummary):
    """A query with all its details."""

    answer: dict[str, Any] | None
    deliveries: tuple[ShownDelivery, ...]


class QueryPage(Output):
    """Some queries."""

    queries: tuple[QuerySummary, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")


class DeletedQuery(Output):
    """A query that was deleted with its webhooks."""

    query_id: UUID
    deleted_at: datetime
    withdrawn: int = Field(description="Its pending webhooks, which are not sent.")
