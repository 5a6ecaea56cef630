"""Directory jobs as clients see them."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from ingress.models.roots import Output


class ListedJob(Output):
    """A directory job, without its images."""

    job_id: UUID
    directory: str
    state: Literal["waiting", "running", "paused", "done", "failed", "cancelled"]
    total: int | None
    announced: int
    skipped: int
    skips: dict[str, int] = Field(description="Files that were skipped, by reason.")
    error: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    links: dict[str, str]


class ShownJob(ListedJob):
    """A directory job with its progress."""

    images: dict[str, int] = Field(description="How many of its images are in each status.")
    rate_per_s: float = Field(description="Images tagged, or failed, per second of a minute.")
    eta_s: float | None = Field(
        description="When all will be, at this rate; null: it stands, has ended, or is not counted."
    )


class JobPage(Output):
    """Some jobs."""

    jobs: tuple[ListedJob, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")


class ShownJobFailure(Output):
    """An image of a job that could not be tagged."""

    image_id: UUID
    image_path: str
    reason: str
    detail: str
    at: datetime


class JobFailures(Output):
    """Some of a job's images that could not be tagged, the last first."""

    failures: tuple[ShownJobFailure, ...]
    reasons: dict[str, int] = Field(
        description="How many failed for what, the most first; of 100,000."
    )
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")
