"""Server-sent events of one listener, for as long as it may listen."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request
from starlette.responses import StreamingResponse

from ingress.live.listeners import Frame
from ingress.live.rhythm import RHYTHM
from ingress.models.page.live import Hello, LiveJobs
from ingress.operations import Call
from ingress.reading.jobs import is_settled

MEDIA_TYPE = "text/event-stream"
#: Browsers connect again after so long.
RETRY = "retry: 1000\n\n"
STILL_HERE = ": still here\n\n"


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What a stream tells.

    Attributes:
        begin: what is sent first.
        tell: returns the text of a frame, and whether the stream ends with it.
    """

    begin: str
    topics: Collection[str]
    tell: Callable[[Frame], tuple[str, bool]]


def wants_events(request: Request) -> bool:
    """Tell whether the client accepts a stream of events."""
    return MEDIA_TYPE in request.headers.get("accept", "")


def stream(call: Call, topics: Collection[str], hello: Hello, within_s: float) -> StreamingResponse:
    """Return the events of these topics: `hello`, a snapshot of each, then what changes."""

    def told(frame: Frame) -> tuple[str, bool]:
        return frame.text, False

    begin = f"{RETRY}event: hello\ndata: {hello.model_dump_json()}\n\n"
    return _response(_events(call, StreamPlan(begin, topics, told), within_s))


def job_stream(call: Call, job_id: UUID) -> StreamingResponse:
    """Return the progress of a job, until it has ended and its images with it."""

    def told(frame: Frame) -> tuple[str, bool]:
        jobs = frame.value.jobs if isinstance(frame.value, LiveJobs) else ()
        if not jobs:  # it is gone
            return "", True
        text = f"event: progress\ndata: {jobs[0].model_dump_json()}\n\n"
        return text, is_settled(jobs[0])

    return _response(_events(call, StreamPlan(RETRY, ("jobs",), told), RHYTHM.longest_s, job_id))


def _response(events: AsyncIterator[str]) -> StreamingResponse:
    # Without the header nginx would buffer the events.
    return StreamingResponse(events, media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})


async def _events(
    call: Call, plan: StreamPlan, within_s: float, job_id: UUID | None = None
) -> AsyncIterator[str]:
    """Yield what the listener is sent.

    It ends when the process stops, when the key does not count any more, and now and then: clients
    connect again by themselves.
    """
    rhythm, clock = call.deps.rhythm, asyncio.get_running_loop().time
    ends_at, spoke_at, asked_at = clock() + within_s, clock(), clock()
    yield plan.begin
    with call.deps.live.listening(plan.topics, call.own_only, job_id) as listener:
        while call.deps.readiness.is_ready and clock() < ends_at:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(rhythm.look_s, ends_at - clock())):
                    await listener.ready.wait()
            if clock() - asked_at >= rhythm.admitted_s:
                asked_at = clock()
                if not await call.is_still_allowed():
                    return
            for frame in listener.take():
                text, is_last = plan.tell(frame)
                yield text
                spoke_at = clock()
                if is_last:
                    return
            if clock() - spoke_at >= rhythm.comment_s:
                yield STILL_HERE
                spoke_at = clock()
