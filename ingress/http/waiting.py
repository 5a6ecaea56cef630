"""Waiting for a row to change, for a limited time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Each look reads one row by its key. The pauses grow: most waits end at once.
FIRST_PAUSE_S = 0.02
LAST_PAUSE_S = 0.5
GROWTH = 1.5


async def wait_until(
    look: Callable[[], Awaitable[T]], is_done: Callable[[T], bool], *, within_s: float
) -> T:
    """Look at least once, until it is done or the time is over; return what was seen last."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    pause_s = FIRST_PAUSE_S
    seen = await look()
    while not is_done(seen) and (left_s := deadline - loop.time()) > 0:
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * GROWTH, LAST_PAUSE_S)
        seen = await look()
    return seen
