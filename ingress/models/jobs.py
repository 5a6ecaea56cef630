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
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
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


class JobPage(Output):
    """Some jobs."""

    jobs: tuple[ListedJob, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")
