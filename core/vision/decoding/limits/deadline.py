"""Time limits that count a process's own processor time, so that a busy machine shortens none."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

# Processor time is given in ticks: a look that comes too early by less than this is the last one.
_TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long one picture may take.

    Attributes:
        cpu_s: processor time of its decoder.
        wall_s: in all, also while the decoder waits for a processor.
    """

    cpu_s: float
    wall_s: float


@asynccontextmanager
async def within(limit: TimeLimit, used_s: Callable[[], float]) -> AsyncIterator[None]:
    """Run the block within the limit.

    Args:
        used_s: the processor time that the process has used so far.

    Raises:
        TimeoutError: one of the two times is over.
    """
    loop = asyncio.get_running_loop()
    begun_s = used_s()
    timer: asyncio.TimerHandle | None = None
    async with asyncio.timeout(limit.wall_s) as deadline:

        def look() -> None:
            nonlocal timer
            left_s = limit.cpu_s - (used_s() - begun_s)
            if left_s > _TICK_S:
                timer = loop.call_later(left_s, look)
            elif not deadline.expired():
                deadline.reschedule(loop.time())

        look()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a child of ours has used; where nobody tells, the time of day.

    Linux gives every process a clock, whose number holds the process's (`MAKE_PROCESS_CPUCLOCK` in
    the kernel's posix-timers.h). A child that has ended uses no more: 0.
    """
    if sys.platform != "linux":
        return time.monotonic()
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0
