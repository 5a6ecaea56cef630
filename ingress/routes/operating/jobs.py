"""`/jobs`: list directory jobs, show their progress, cancel them."""

from uuid import UUID

from starlette.responses import Response

from core.storage.archive import images, jobs
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, cursor_of, limit_of, page_before
from ingress.http.problems import Problem
from ingress.live.streaming import job_stream, wants_events
from ingress.models.jobs import JobPage, ListedJob, ShownJob
from ingress.operations import Call, Operation, Reply, json_response
from ingress.reading.jobs import shown

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


async def show(call: Call) -> Response:
    """Return a job's progress; with `Accept: text/event-stream`, again whenever it changes."""
    job_id = call.path_id("job_id")
    found = await _look(call, job_id)
    if not wants_events(call.request):
        return json_response(found)
    call.hold_waiting()
    return job_stream(call, job_id)


async def list_jobs(call: Call) -> Response:
    """Return the caller's jobs, or all of them for an administrator, the newest first."""
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    found = await jobs.recent(
        call.deps.pool, owner=call.own_only, before=page_before(call), limit=limit + 1
    )
    last = found[limit - 1] if len(found) > limit else None
    listed = tuple(shown(job, call.deps.base_url, ListedJob) for job in found[:limit])
    follows = cursor_of(last.created_at, last.job_id) if last else None
    return json_response(JobPage(jobs=listed, next=follows))


async def cancel(call: Call) -> Response:
    """Cancel a job. Images that it has announced are still tagged; an ended job stays as it is."""
    job_id = call.path_id("job_id")
    async with call.deps.pool.transaction() as tx:
        job = await jobs.get(tx, job_id)
        if job is None or not call.caller.owns(job.owner):
            raise Problem("job_not_found", f"no job {job_id}")
        await jobs.cancel(tx, job_id)
    return json_response(await _look(call, job_id))


async def _look(call: Call, job_id: UUID) -> ShownJob:
    async with call.deps.pool.connection() as connection:
        job = await jobs.get(connection, job_id)
        if job is None or not call.caller.owns(job.owner):
            raise Problem("job_not_found", f"no job {job_id}")
        counts = await images.job_counts(connection, job_id)
    return shown(job, call.deps.base_url, ShownJob, images=counts)


OPERATIONS = (
    Operation(
        "GET",
        "/jobs",
        list_jobs,
        "Directory jobs, page by page",
        "jobs",
        (Reply(200, "At most `limit` jobs, the newest first.", JobPage),),
        scope=Scope.PATHS,
        parameters=(
            limit_of(MAX_LIMIT),
            CURSOR,
        ),
        problems=("invalid_request",),
    ),
    Operation(
        "POST",
        "/jobs/{job_id}/cancel",
        cancel,
        "End a directory job",
        "jobs",
        (Reply(200, "As it is now; one that had ended before is as it was.", ShownJob),),
        scope=Scope.PATHS,
        problems=("job_not_found",),
    ),
    Operation(
        "GET",
        "/jobs/{job_id}",
        show,
        "How far a directory job is",
        "jobs",
        (
            Reply(
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
