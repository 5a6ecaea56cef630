"""Turns at the database: no key and no address takes all of the process's connections to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from ingress.http.problems import retry_later

#: Whose request is being served: a key's id, or an address; None outside of requests.
HOLDER: ContextVar[str | None] = ContextVar("holder", default=None)
TURN_TIMEOUT_S = 15.0  # as long as a connection is waited for
RETRY_S = 2


@dataclass(slots=True)
class _Line:
    """The turns of one holder, and how many requests have one or wait for one."""

    turns: asyncio.Semaphore
    requests: int = 0


@dataclass(slots=True)
class DatabaseTurns:
    """At most so many connections at a time for one holder; more of its requests stand in line.

    A search may take a second. Without turns, hundreds of one key would stand in the pool's queue
    before the one request of another key.
    """

    limit: int
    timeout_s: float = TURN_TIMEOUT_S
    _lines: dict[str, _Line] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn of the request being served, and have it while the block runs.

        Raises:
            Problem: `rate_limited`: there was none in time.
        """
        holder = HOLDER.get()
        if holder is None:
            yield
            return
        line = self._lines.setdefault(holder, _Line(asyncio.Semaphore(self.limit)))
        line.requests += 1
        try:
            await self._take(line.turns)
            try:
                yield
            finally:
                line.turns.release()
        finally:
            line.requests -= 1
            if not line.requests:
                del self._lines[holder]

    async def _take(self, turns: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self.timeout_s):
                await turns.acquire()
        except TimeoutError as error:
            raise retry_later(
                "rate_limited",
                f"no turn at the database within {self.timeout_s:g} s: other requests of the same"
                " client are before this one",
                after_s=RETRY_S,
            ) from error
