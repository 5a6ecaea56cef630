"""Jobs as clients see them, for routes and for the stream of changes."""

from collections.abc import Mapping
from typing import Any, TypeVar

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


def with_progress(
    job: DirectoryJob, counts: Mapping[str, int], rate_per_s: float, base_url: str
) -> ShownJob:
    """Return a job with how many of its images are in each status, and how fast they come."""
    eta = eta_s(job, counts, rate_per_s)
    rate = round(rate_per_s, 2)
    return shown(job, base_url, ShownJob, images=dict(counts), rate_per_s=rate, eta_s=eta)


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
