"""Server-sent events: a value sent whenever it has changed, until it is final."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import StreamingResponse

from core.errors import PhotoTaggerError

log = structlog.get_logger(__name__)

ModelT = TypeVar("ModelT", bound=BaseModel)
MEDIA_TYPE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds between looks, between heartbeats, and until the client has to connect again.

    Attributes:
        least_look_s: asked before each pause, which is at least so long.
    """

    look_s: float = 0.5
    least_look_s: Callable[[], float] = lambda: 0.0
    heartbeat_s: float = 15.0
    longest_s: float = 600.0


def wants_events(request: Request) -> bool:
    """Tell whether the client accepts a stream of events."""
    return MEDIA_TYPE in request.headers.get("accept", "")


def stream_of(
    look: Callable[[], Awaitable[ModelT]],
    is_final: Callable[[ModelT], bool],
    is_open: Callable[[], bool],
    rhythm: Rhythm | None = None,
) -> StreamingResponse:
    """Return a response that sends the value of `look` whenever it has changed.

    It ends after the final value, when `is_open` turns false (the process stops), or after
    `longest_s`: browsers reconnect by themselves, other clients use `retry`.
    """
    events = _events(look, is_final, is_open, rhythm or Rhythm())
    # Without the header nginx would buffer the events.
    return StreamingResponse(events, media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})


async def _events(
    look: Callable[[], Awaitable[ModelT]],
    is_final: Callable[[ModelT], bool],
    is_open: Callable[[], bool],
    rhythm: Rhythm,
) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    ends_at, spoke_at, before = loop.time() + rhythm.longest_s, loop.time(), None
    yield "retry: 1000\n\n"
    while is_open() and loop.time() < ends_at:
        try:
            value = await look()
        except PhotoTaggerError as error:
            # The response has begun, so it can only end; the client connects again.
            log.warning("events_ended", error=str(error))
            return
        if value != before:
            yield f"event: progress\ndata: {value.model_dump_json()}\n\n"
            before, spoke_at = value, loop.time()
        elif loop.time() - spoke_at > rhythm.heartbeat_s:
            yield ": still here\n\n"
            spoke_at = loop.time()
        if is_final(value):
            return
        await asyncio.sleep(max(rhythm.look_s, rhythm.least_look_s()))
