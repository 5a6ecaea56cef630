"""Waiting for a row to change, for a limited time."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Each look reads one row by its key. The pauses grow: most waits end at once.
FIRST_PAUSE_S = 0.02
LAST_PAUSE_S = 0.5
GROWTH = 1.5


async def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """For how long something is waited for, and how often one looks.

    Attributes:
        within_s: the longest.
        least_pause_s: asked before each pause, which is at least so long.
        goes_on: asked before each look; False where nobody waits any more.
    """

    within_s: float
    least_pause_s: Callable[[], float] = lambda: 0.0
    goes_on: Callable[[], Awaitable[bool]] = _always


async def wait_until(
    look: Callable[[], Awaitable[T]], is_done: Callable[[T], bool], limits: WaitLimits
) -> T:
    """Look at least once, until it is done or the time is over; return what was seen last."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limits.within_s
    pause_s = FIRST_PAUSE_S
    seen = await look()
    while not is_done(seen) and (left_s := deadline - loop.time()) > 0:
        await asyncio.sleep(min(max(pause_s, limits.least_pause_s()), left_s))
        if not await limits.goes_on():
            return seen
        pause_s = min(pause_s * GROWTH, LAST_PAUSE_S)
        seen = await look()
    return seen


class Shared(Generic[T]):
    """One look at something for all who ask while it is under way.

    Probes are answered whoever asks them and however often; so a flood of them costs one look.
    """

    def __init__(self) -> None:
        self._under_way: asyncio.Task[T] | None = None

    async def of(self, look: Callable[[], Coroutine[None, None, T]]) -> T:
        """Return what `look` sees, or what a look that is under way sees."""
        if self._under_way is None:
            # In a context of its own: it is made for all, not for the request that came first.
            self._under_way = asyncio.create_task(look(), context=Context())
            self._under_way.add_done_callback(self._end)
        return await asyncio.shield(self._under_way)

    def _end(self, ended: "asyncio.Task[T]") -> None:
        self._under_way = None
        if not ended.cancelled():
            ended.exception()  # whoever asked has it, or has gone: nobody is left to be warned
