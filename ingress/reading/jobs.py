"""Jobs as clients see them, for routes and for the stream of changes."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from core.storage.folders.jobs import DirectoryJob
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
    found: Sequence[DirectoryJob],
    counts: Mapping[UUID, Mapping[str, int]],
    rates: Mapping[UUID, float],
    base_url: str,
) -> list[tuple[str | None, ShownJob]]:
    """Return jobs with their owners, their images in each status, and how fast they go."""
    told = []
    for job in found:
        images, rate = dict(counts.get(job.job_id, {})), rates.get(job.job_id, 0.0)
        left_s = eta_s(job, images, rate)
        of_images = {"images": images, "rate_per_s": round(rate, 2), "eta_s": left_s}
        told.append((job.owner, shown(job, base_url, ShownJob, **of_images)))
    return told


def eta_s(job: DirectoryJob, counts: Mapping[str, int], rate_per_s: float) -> float | None:
    """Return when all images of a job will be tagged or have failed; None: that is not known."""
    if rate_per_s <= 0 or job.total is None or job.state not in {"waiting", "running", "done"}:
        return None
    left = job.total - counts.get("tagged", 0) - counts.get("failed", 0)
    return round(left / rate_per_s, 1) if left > 0 else None


def is_settled(job: ShownJob) -> bool:
    """Tell whether a job has ended, and all its images with it.

    It is done when all are announced; they are tagged a little later.
    """
    return job.state in ENDED and (job.state != "done" or job.images.get("accepted", 0) == 0)
