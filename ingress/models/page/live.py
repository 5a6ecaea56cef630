"""What `GET /events` tells, by topic."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from ingress.models.jobs import ShownJob
from ingress.models.labels import ShownRescoring
from ingress.models.roots import Output


class Hello(Output):
    """The first event: what the stream will tell."""

    topics: tuple[str, ...]
    left_out: dict[str, str] = Field(
        description="Topics that the key may not have, with the scope that is missing."
    )


class LiveTag(Output):
    """A tag of an image."""

    tag: str
    score: float


class LiveImage(Output):
    """An image that has changed."""

    image_id: UUID
    status: str = Field(description="`deleted`: gone for the caller, who had it till now.")
    tags: tuple[LiveTag, ...] = Field(description="The three best.")
    version: str | None = Field(
        description="`v` of its thumbnail: another one means that the picture is another one."
    )
    waits_for: str | None = None
    excluded: bool = Field(False, description="It is never an answer.")
    by_hand: bool = Field(False, description="Whether people set its tags, or added some.")


class LiveImages(Output):
    """Images that have changed, and how many there are."""

    changed: tuple[LiveImage, ...]
    truncated: bool = Field(description="More has changed than is listed: look again.")
    statuses: dict[str, int]


class LiveJobs(Output):
    """Open jobs, and those that ended within the last minute."""

    jobs: tuple[ShownJob, ...]


class LiveQuery(Output):
    """A query that has changed, with its newest webhook."""

    query_id: UUID
    status: Literal["accepted", "waiting", "answered", "deleted"]
    outcome: str | None
    state: Literal["waiting", "in_flight", "will_retry", "given_up", "delivered", "stopped"] | None
    attempts: int
    next_at: datetime | None
    waits_for: str | None


class LiveQueries(Output):
    """Queries that have changed."""

    changed: tuple[LiveQuery, ...]
    truncated: bool = Field(description="More has changed than is listed: look again.")


class LiveLabels(ShownRescoring):
    """How far the archive has come with the labels in force."""

    version: int


class LiveInboxes(Output):
    """How many posts each inbox has."""

    inboxes: dict[str, int]
