"""An event loop whose time is virtual, and lives in it that can be stopped and killed.

Nothing waits: when nothing is ready, time jumps to the next timer. A life is a process in the
simulation. Every callback of its tasks carries it in its context; so a frozen life's callbacks are
kept back until it is thawed (SIGSTOP, SIGCONT), and a dead one's never run (SIGKILL): no `finally`,
no `except`, as with a real kill.
"""

import asyncio
import functools
import heapq
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from enum import Enum
from typing import Any, ParamSpec

P = ParamSpec("P")


class Condition(Enum):
    """How a life is."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


class Life:
    """One process of one member.

    Attributes:
        instance: the member's stable name.
        number: which life of the simulation it is.
    """

    def __init__(self, instance: str, number: int) -> None:
        self.instance = instance
        self.number = number
        self.condition = Condition.RUNNING
        self.backlog: list[asyncio.Handle] = []

    def __repr__(self) -> str:
        return f"{self.instance}/{self.number}"

    @property
    def runs(self) -> bool:
        """Whether its callbacks are run."""
        return self.condition is Condition.RUNNING


#: Whose callback runs; None: the world's.
LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set: nothing will ever happen."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order of asyncio, and timers without waiting for them.

    Overrides the one step of `BaseEventLoop` that looks at sockets and the clock (private, the same
    in Python 3.11 to 3.14).
    """

    _ready: Any
    _scheduled: Any

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now

    def thaw(self, life: Life) -> None:
        """Run on; whatever became due meanwhile comes at once, in its order."""
        life.condition = Condition.RUNNING
        self._ready.extend(life.backlog)
        life.backlog.clear()

    def _run_once(self) -> None:
        if not self._ready:
            self._jump()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            life = handle._context.get(LIFE)
            if life is None or life.condition is Condition.RUNNING:
                handle._run()
            else:  # a dead one's are kept for the end of the simulation: `World.bury`
                life.backlog.append(handle)

    def _jump(self) -> None:
        """To the next timer."""
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._scheduled:
            raise Deadlock("nothing is ready and no timer is set")
        self._now = max(self._now, self._scheduled[0]._when)
        while self._scheduled and self._scheduled[0]._when <= self._now:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            self._ready.append(handle)

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a loop of its own whose waits take no time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
