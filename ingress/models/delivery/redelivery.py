"""What clients send and get about webhooks that are sent again."""

from typing import Literal
from uuid import UUID

from pydantic import Field, field_validator

from core.storage.delivery.redelivery import MAX_LIMIT
from ingress.models.roots import Input, Output, Words, examples
from schemas.strict import Moment, read_whole


class RedeliveryFilter(Input):
    """A selection of webhooks; all conditions must hold."""

    host: Words | None = Field(
        None, min_length=1, max_length=253, description="Of any scheme and port."
    )
    states: tuple[Literal["dead", "due", "delivered"], ...] = Field(
        ("dead",),
        min_length=1,
        max_length=3,
        description="`delivered` ones go out as new webhooks.",
    )
    since: Moment | None = Field(None, description="Ended (or made) at or after this time.")
    until: Moment | None = Field(None, description="Ended (or made) before this time.")


class RedeliveryRequest(Input):
    """`POST /queries/redeliver`: webhooks to send again."""

    model_config = examples(
        {"filter": {"host": "hooks.example.org"}, "dry_run": True},
        {"filter": {"since": "2026-05-01T00:00:00Z"}, "limit": 500},
    )

    filter: RedeliveryFilter = RedeliveryFilter()
    dry_run: bool = Field(False, description="Only count.")
    limit: int = Field(1000, ge=1, le=MAX_LIMIT)

    _read_limit = field_validator("limit", mode="before")(read_whole)


class Redelivery(Output):
    """The outcome of a redelivery."""

    matched: dict[str, int] = Field(description="Webhooks that match, by state.")
    redelivered: int = Field(description="Of these, so many are due now; 0 where only counted.")
    attempt: int | None = Field(
        None, description="Of a single query: the number of the attempt that is due now."
    )
    webhook_ids: tuple[UUID, ...] = Field(description="Of those that are due now, the first 100.")
