"""What clients send and get about webhooks beyond a query: redelivery, hosts, endpoints."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, field_validator

from core.storage.delivery.redelivery import MAX_LIMIT
from ingress.models.requests import Input, Words
from ingress.models.responses import Output
from schemas.strict import read_whole


class RedeliveryFilter(Input):
    """Which webhooks; all conditions together."""

    host: Words | None = Field(None, min_length=1, max_length=253)
    states: tuple[Literal["dead", "due", "delivered"], ...] = Field(
        ("dead",),
        min_length=1,
        max_length=3,
        description="`delivered` ones go out as new webhooks.",
    )
    since: AwareDatetime | None = Field(None, description="Ended (or made) at or after this time.")
    until: AwareDatetime | None = Field(None, description="Ended (or made) before this time.")


class RedeliveryRequest(Input):
    """`POST /queries/redeliver`: webhooks to be sent again."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"filter": {"host": "hooks.example.org"}, "dry_run": True},
                {"filter": {"since": "2026-05-01T00:00:00Z"}, "limit": 500},
            ]
        },
    )

    filter: RedeliveryFilter = RedeliveryFilter()
    dry_run: bool = Field(False, description="Only count.")
    limit: int = Field(1000, ge=1, le=MAX_LIMIT)

    _read_limit = field_validator("limit", mode="before")(read_whole)


class Redelivery(Output):
    """What is sent again."""

    matched: dict[str, int] = Field(description="Webhooks that match, by state.")
    redelivered: int = Field(description="Of these, so many are due now; 0 where only counted.")
    webhook_ids: tuple[UUID, ...] = Field(description="Of those that are due now, the first 100.")


class HostChange(Input):
    """`POST /hosts/{host}/disable, resume`: why."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "its operators asked for a pause"}]},
    )

    reason: Words = Field("", max_length=500)


class ShownHost(Output):
    """A callback host that was disabled once."""

    host: str
    is_disabled: bool
    disabled_at: datetime | None
    actor: str = Field(description="Who did the last change; `breaker`: it was automatic.")
    reason: str
    changed_at: datetime
    waiting: int = Field(description="Webhooks on the schedule, counted to 1,000.")


class ShownHosts(Output):
    """Hosts that were disabled once, the newest change first."""

    hosts: tuple[ShownHost, ...]


class EndpointRequest(Input):
    """`POST /endpoints`: an address that webhooks will be sent to."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": "https://example.org/hooks/photos", "name": "the shop"}]
        },
    )

    url: Words = Field(min_length=1, max_length=2000, json_schema_extra={"format": "uri"})
    name: Words = Field("", max_length=200)


class ShownEndpoint(Output):
    """A registered address."""

    endpoint_id: UUID
    url: str = Field(description="As `callback_url` of a query it is signed with its own secret.")
    name: str
    created_at: datetime


class MadeEndpoint(ShownEndpoint):
    """A fresh one, with what is shown once."""

    signing_secret: str = Field(description="`whsec_…`, shown once.")


class RemovedEndpoint(ShownEndpoint):
    """An address that is registered no more."""

    given_up: int = Field(
        description="Webhooks to it that waited: given up as `endpoint_removed`; redelivery sends"
        " them again, signed with the owner's own secret."
    )


class ShownEndpoints(Output):
    """Registered addresses, the oldest first."""

    endpoints: tuple[ShownEndpoint, ...]
