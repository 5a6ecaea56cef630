"""Jobs as clients see them, for routes and for the stream of changes."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from core.storage.archive.jobs import DirectoryJob
from ingress.models.jobs import ListedJob, ShownJob

JobT = TypeVar("JobT", bound=ListedJob)
ENDED = frozenset({"done", "failed", "cancelled"})


def shown(job: DirectoryJob, base_url: str, model: type[JobT], **more: Any) -> JobT:
    """Return a job as a model shows it.

    Args:
        job: the row.
        base_url: where links point.
        model: the one to return.
        more: what is not in the row.
    """
    return model.of(
        job,
        directory=f"{job.root}/{job.directory}".rstrip("/"),
        links={"self": f"{base_url}/jobs/{job.job_id}"},
        **more,
    )


def with_images(
    found: Sequence[DirectoryJob], counts: Mapping[UUID, Mapping[str, int]], base_url: str
) -> list[tuple[str | None, ShownJob]]:
    """Return jobs with their owners, and how many of their images are in each status."""
    return [
        (job.owner, shown(job, base_url, ShownJob, images=dict(counts.get(job.job_id, {}))))
        for job in found
    ]


def is_settled(job: ShownJob) -> bool:
    """Tell whether a job has ended, and all its images with it.

    It is done when all are announced; they are tagged a little later.
    """
    return job.state in ENDED and (job.state != "done" or job.images.get("accepted", 0) == 0)
