"""`/jobs`: list directory jobs, show their progress, cancel them."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from starlette.responses import Response

from core.storage.archive import images
from core.storage.folders import job_images, jobs
from core.storage.folders.jobs import DirectoryJob
from core.transaction import Transaction
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, cursor_of, limit_of, page_before
from ingress.http.problems import Problem
from ingress.live.streaming import job_stream, wants_events
from ingress.models.jobs import JobFailures, JobPage, ListedJob, ShownJob, ShownJobFailure
from ingress.operations import Call, Operation, Reply, json_response
from ingress.reading.jobs import shown, with_images

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


async def failures(call: Call) -> Response:
    """Return a job's images that could not be tagged, with their reasons, page by page."""
    job_id = call.path_id("job_id")
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    async with call.deps.pool.connection() as connection:
        await _own(call, connection, job_id)
        found = await job_images.failures(
            connection, job_id, before=page_before(call), limit=limit + 1
        )
        reasons = await job_images.failure_reasons(connection, job_id)
    last = found[limit - 1] if len(found) > limit else None
    return json_response(
        JobFailures(
            failures=tuple(ShownJobFailure.of(one) for one in found[:limit]),
            reasons=reasons,
            next=cursor_of(last.at, last.image_id) if last else None,
        )
    )


async def cancel(call: Call) -> Response:
    """Cancel a job. Images that it has announced are still tagged; an ended job stays as it is."""
    return await _changed(call, jobs.cancel)


async def pause(call: Call) -> Response:
    """Hold a job, until it is resumed. Images that it has announced are still tagged."""
    return await _changed(call, jobs.pause)


async def resume(call: Call) -> Response:
    """Let a job go on that was held."""
    return await _changed(call, jobs.resume)


async def _changed(call: Call, change: Callable[[Transaction, UUID], Awaitable[bool]]) -> Response:
    job_id = call.path_id("job_id")
    async with call.deps.pool.transaction() as tx:
        await _own(call, tx, job_id)
        await change(tx, job_id)
    return json_response(await _look(call, job_id))


async def _own(call: Call, connection: Transaction, job_id: UUID) -> DirectoryJob:
    job = await jobs.get(connection, job_id)
    if job is None or not call.caller.owns(job.owner):
        raise Problem("job_not_found", f"no job {job_id}")
    return job


async def _look(call: Call, job_id: UUID) -> ShownJob:
    async with call.deps.pool.connection() as connection:
        job = await _own(call, connection, job_id)
        counts = await images.job_counts(connection, job_id)
        rates = await job_images.rates_per_s(connection, [job_id])
    return with_images([job], {job_id: counts}, rates, call.deps.base_url)[0][1]


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
        "POST",
        "/jobs/{job_id}/pause",
        pause,
        "Hold a directory job",
        "jobs",
        (Reply(200, "As it is now; one that had ended is as it was.", ShownJob),),
        scope=Scope.PATHS,
        problems=("job_not_found",),
    ),
    Operation(
        "POST",
        "/jobs/{job_id}/resume",
        resume,
        "Let a directory job go on",
        "jobs",
        (Reply(200, "As it is now; one that was not held is as it was.", ShownJob),),
        scope=Scope.PATHS,
        problems=("job_not_found",),
    ),
    Operation(
        "GET",
        "/jobs/{job_id}/failures",
        failures,
        "Images of a directory job that could not be tagged",
        "jobs",
        (Reply(200, "At most `limit` of them, the last first.", JobFailures),),
        scope=Scope.PATHS,
        parameters=(limit_of(MAX_LIMIT), CURSOR),
        problems=("job_not_found", "invalid_request"),
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
