"""Calls between a life and a server: each way takes a seeded time, and either may be lost."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from random import Random
from typing import Any, TypeVar

from core.errors import TransientError
from tests.simulation.clock import LIFE

T = TypeVar("T")

#: How long a way takes, in seconds: mostly short, now and then longer than a heartbeat.
WAYS_S = (0.0, 0.0005, 0.001, 0.001, 0.002, 0.005, 0.02)
SLOW_WAY_S = 1.5
GIVE_UP_S = 2.0


class Wire:
    """The way to one server.

    Attributes:
        is_away: no request arrives and no answer leaves.
        lost: share of the requests that never arrive.
        unheard: share of the requests that are carried out and whose answer is lost.
        slow: share of the ways that take long.
        is_over: the simulation has ended; every call fails at once.
    """

    def __init__(self, random: Random, error: Callable[[str], TransientError]) -> None:
        self.random = random
        self.error = error
        self.is_away = False
        self.lost = self.unheard = self.slow = 0.0
        self.is_over = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: Context = copy_context()
        self._server.run(LIFE.set, None)

    async def call(self, effect: Callable[[], Awaitable[T]]) -> T:
        """Carry a request to the server, run its effect there, carry the answer back.

        What was sent is carried out, whatever becomes of the caller meanwhile.

        Raises:
            TransientError: the server is away, or one of the two ways lost what it carried.
        """
        await self.stand_still()
        if self.is_over:
            raise self.error("the simulation is over")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        task = loop.create_task(self._carry(effect, answer), context=self._server)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard, context=self._server)
        return await answer

    async def stand_still(self) -> None:
        """Go no further while the calling life is stopped; never return in a dead one."""
        life = LIFE.get()
        while life is not None and not life.runs:
            await asyncio.sleep(0)

    def a_way_s(self) -> float:
        """How long the next way takes."""
        if self.slow and self.random.random() < self.slow:
            return self.random.uniform(0, SLOW_WAY_S)
        return self.random.choice(WAYS_S)

    async def _carry(self, effect: Callable[[], Awaitable[T]], answer: "asyncio.Future[T]") -> None:
        await asyncio.sleep(self.a_way_s())
        if self.is_away or (self.lost and self.random.random() < self.lost):
            await asyncio.sleep(self.random.uniform(0, GIVE_UP_S))
            self._tell(answer, self.error("no connection"))
            return
        told: Any
        try:
            told = await effect()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # it is the caller's
            told = error
        await asyncio.sleep(self.a_way_s())
        if self.is_away or (self.unheard and self.random.random() < self.unheard):
            told = self.error("connection lost before the answer")
        self._tell(answer, told)

    @staticmethod
    def _tell(answer: "asyncio.Future[Any]", told: Any) -> None:
        if answer.done():
            return
        if isinstance(told, Exception):
            answer.set_exception(told)
            answer.exception()  # a dead caller never looks at it
        else:
            answer.set_result(told)
