"""Work that a process repeats until it stops: a step, a wait, the next step."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from core.errors import TransientError


async def every(
    step: Callable[[], Awaitable[bool | None]],
    idle_s: float,
    stop: asyncio.Event,
    *,
    postponed: Callable[[TransientError], object] = lambda _error: None,
) -> None:
    """Return once `stop` is set; until then call `step` again and again.

    A step under way when `stop` is set comes to its end. Only a TransientError is taken as a reason
    to try again; every other error is raised.

    Args:
        step: returns True where there may be more to do now; it is then called again at once.
        idle_s: how long to wait after a step that found nothing more, or ended in a TransientError.
        stop: ends the wait too.
        postponed: is called with each TransientError, for the log.
    """
    while not stop.is_set():
        try:
            has_more = await step()
        except TransientError as error:
            postponed(error)
            has_more = False
        if not has_more:
            await pause(idle_s, stop)


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Return after so many seconds, or as soon as `stop` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
