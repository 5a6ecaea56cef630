"""Registered callback addresses as clients send and see them."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from ingress.models.roots import Input, Output, Words, examples


class EndpointRequest(Input):
    """`POST /endpoints`: an address that webhooks will be sent to."""

    model_config = examples({"url": "https://example.org/hooks/photos", "name": "the shop"})

    url: Words = Field(min_length=1, max_length=2000, json_schema_extra={"format": "uri"})
    name: Words = Field("", max_length=200)
    operator_events: bool = Field(
        default=False,
        description="Tell it what happens to the archive itself, too (scope `admin`).",
    )


class ShownEndpoint(Output):
    """A registered address."""

    endpoint_id: UUID
    url: str = Field(description="As `callback_url` of a query it is signed with its own secret.")
    name: str
    operator_events: bool
    created_at: datetime


class MadeEndpoint(ShownEndpoint):
    """A new address, with its secret, which is shown once."""

    signing_secret: str = Field(description="`whsec_…`, shown once.")


class RemovedEndpoint(ShownEndpoint):
    """An address that was removed."""

    given_up: int = Field(
        description="Pending webhooks to it, given up as `endpoint_removed`; redelivery sends"
        " them again, signed with the owner's own secret."
    )


class ShownEndpoints(Output):
    """Registered addresses, the oldest first."""

    endpoints: tuple[ShownEndpoint, ...]
