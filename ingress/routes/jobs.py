"""`/jobs`: how far directory jobs are."""

from uuid import UUID

from starlette.responses import Response

from core.storage.jobs import DirectoryJob
from ingress.api_keys import Scope
from ingress.events import stream_of, wants_events
from ingress.operations import Answer, Call, Operation, json_response
from ingress.problems import Problem
from ingress.responses import ShownJob


async def show(call: Call) -> Response:
    """Give how far a job is; with `Accept: text/event-stream`, again whenever it has moved."""
    job_id = call.path_id("job_id")
    found = await _look(call, job_id)
    if not wants_events(call.request):
        return json_response(found)
    return stream_of(
        lambda: _look(call, job_id),
        lambda job: job.state in _ENDED and _is_settled(job),
        lambda: call.parts.readiness.is_ready,
    )


async def _look(call: Call, job_id: UUID) -> ShownJob:
    tables = call.parts.tables
    async with tables.database.connection() as connection:
        job = await tables.jobs.get(connection, job_id)
        if job is None or not call.caller.owns(job.owner):
            raise Problem("job_not_found", f"no job {job_id}")
        return _shown(call, job, await tables.images.job_counts(connection, job_id))


def _is_settled(job: ShownJob) -> bool:
    # The job itself is done when all is announced; its images are tagged a little later.
    return job.state != "done" or job.images.get("accepted", 0) == 0


def _shown(call: Call, job: DirectoryJob, counts: dict[str, int]) -> ShownJob:
    return ShownJob.model_validate(
        {
            "job_id": job.job_id,
            "directory": f"{job.root}/{job.directory}".rstrip("/"),
            "state": job.state,
            "total": job.total,
            "announced": job.announced,
            "skipped": job.skipped,
            "skips": job.skips,
            "images": counts,
            "error": job.error,
            "created_at": job.created_at,
            "updated_at": job.updated_at,
            "finished_at": job.finished_at,
            "links": {"self": call.parts.link(f"/jobs/{job.job_id}")},
        }
    )


_ENDED = frozenset({"done", "failed", "cancelled"})
OPERATIONS = (
    Operation(
        "GET",
        "/jobs/{job_id}",
        show,
        "How far a directory job is",
        "jobs",
        (
            Answer(
                200,
                "Its progress; as events where `Accept` asks for them.",
                ShownJob,
                as_events=True,
            ),
        ),
        scope=Scope.PATHS,
        problems=("job_not_found",),
    ),
)
