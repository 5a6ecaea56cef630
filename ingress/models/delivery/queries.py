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


WaitsFor = Literal["disabled", "breaker", "retry_after", "schedule", "rate", "room"]
#: By what happens next.
QueryState = Literal["waiting", "in_flight", "will_retry", "given_up", "delivered", "stopped"]


class ShownAttempt(Output):
    """One attempt to deliver a webhook. The same is sent each time but for time and signature."""

    attempt: int
    started_at: datetime
    took_ms: int | None = None
    status: int | None = Field(None, description="HTTP status of the target, if it answered.")
    error: str | None = None
    detail: str | None = None
    dns_ms: int | None = Field(
        None, description="To resolve the name; null, as the next two: there was no need."
    )
    connect_ms: int | None = None
    tls_ms: int | None = None
    wait_ms: int | None = Field(
        None, description="From the connection to the answer's status line, or to the end of it."
    )
    headers: tuple[tuple[str, str], ...] | None = Field(
        None,
        description="Of the answer, the first 40; values of cookies and keys are not kept.",
    )
    body: str | None = Field(None, description="Of the answer, its first 16 KiB.")
    body_is_cut: bool | None = None
    is_manual: bool = Field(False, description="A person asked for it.")


class ShownDelivery(Output):
    """A webhook and its attempts."""

    delivery_id: UUID = Field(description="The `webhook-id` on the wire.")
    url: str
    target: str
    state: QueryState = Field(description="What happens next; a query has that of its newest one.")
    attempt: int
    next_at: datetime | None = None
    waits_for: WaitsFor | None = Field(
        None,
        description="Why it is not sent now: its target is disabled, is not tried since it failed,"
        " asked for a pause, has as much under way as it may, or its time has not come.",
    )
    waits_until: datetime | None = None
    is_manual: bool = Field(
        False, description="A person asked for the attempt that is next, or under way."
    )
    reason: str | None = None
    stopped_by: str | None = None
    finished_at: datetime | None = None
    attempts: tuple[ShownAttempt, ...] = ()


class SignatureHelp(Output):
    """How a receiver checks the webhooks of a query."""

    webhook_id: UUID | None = Field(description="Of the newest one, the same in all attempts.")
    headers: tuple[str, ...] = Field(description="What is signed with the body: id and time.")


class QuerySummary(Output):
    """A query, without its answer and its webhooks."""

    query_id: UUID
    status: Literal["accepted", "waiting", "answered"]
    outcome: Literal["query.completed", "query.no_match", "query.failed"] | None = Field(
        description="Type of the answer; null until answered."
    )
    state: QueryState = Field(description="What happens next, of its newest webhook.")
    host: str = Field(description="Of the callback.")
    attempts: int = Field(description="Of its newest webhook.")
    next_at: datetime | None = Field(description="When the next attempt is due.")
    waits_for: WaitsFor | None
    waits_until: datetime | None
    finished_at: datetime | None = Field(
        description="When its newest webhook was delivered, given up or stopped."
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
    signature_help: SignatureHelp


class QueryTotal(Output):
    """How many queries match."""

    queries: int = Field(description="Counted to 10,000.")
    is_exact: bool = Field(description="False: there may be more.")


class QueryPage(Output):
    """Some queries; a page may hold fewer than asked for, even none, before the last one."""

    queries: tuple[QuerySummary, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")
    total: QueryTotal | None = Field(None, description="With `total=true`.")


class StoppedQuery(Output):
    """A query whose webhooks were stopped."""

    query_id: UUID
    stopped: int = Field(description="Webhooks that waited: none of them is sent.")
    under_way: int = Field(description="Webhooks that are being sent: nothing follows.")


class DeletedQuery(Output):
    """A query that was deleted with its webhooks."""

    query_id: UUID
    deleted_at: datetime
    withdrawn: int = Field(description="Its pending webhooks, which are not sent.")
