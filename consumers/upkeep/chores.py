"""Chores: work that any consumer process can do, and one process does at a time.

Every role runs all of them, so that none depends on which roles are up. A lease in PostgreSQL says
whose a chore is; when that process dies, another one takes the lease over as soon as it has ended.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from core.errors import PermanentError, TransientError
from core.repeating import every, pause
from core.storage import leases
from core.transaction import Database, Transaction

log = structlog.get_logger(__name__)

#: The time of a lease: a killed process's chore waits at most so long. A running step prolongs it.
LEASE_S = 30.0
#: How long a chore rests after PostgreSQL refused its step: every role does chores, so one bad row
#: must neither end them all nor fill the log.
REFUSED_S = 60.0
#: How long a stop waits for steps under way. Every step may be broken off and made again.
STOP_S = 2.0


def log_postponed(error: TransientError) -> None:
    """Log why a chore's step was not completed."""
    log.info("upkeep_postponed", detail=str(error)[:200])


@dataclass(frozen=True, slots=True)
class Chore:
    """One kind of work.

    Attributes:
        name: of its lease.
        idle_s: between two looks for work; also how long a round that is over stays this
            process's own, so that several processes make one round in that time.
        is_needed: returns whether there is anything to do. Asked before the lease is taken, so that
            idle processes write nothing.
        step: does a part of it; returns True where there may be more to do now.
        postponed: is called with the error of a step that could not be done now.
    """

    name: str
    idle_s: float
    is_needed: Callable[[Transaction], Awaitable[bool]]
    step: Callable[[], Awaitable[bool]]
    postponed: Callable[[TransientError], object] = log_postponed


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Does chores until stopped.

    Attributes:
        lease_s: how long a lease lasts unless it is prolonged.
        refused_s: how long a chore rests after PostgreSQL refused its step.
        stop_s: how long a stop waits for steps under way.
        keeper: what this process is called in its leases.
        moved: is called with the number of steps that were done.
    """

    database: Database
    chores: Sequence[Chore]
    lease_s: float = LEASE_S
    refused_s: float = REFUSED_S
    stop_s: float = STOP_S
    keeper: str = field(default_factory=lambda: secrets.token_hex(8))
    moved: Callable[[int], object] = lambda _: None

    async def run(self, stop: asyncio.Event) -> None:
        """Run all chores, each again after its own idle time, until `stop` is set."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep_up(chore, stop)) for chore in self.chores]
            await stop.wait()
            _, late = await asyncio.wait(tasks, timeout=self.stop_s)
            for task in late:  # its lease ends by itself
                task.cancel()

    async def _keep_up(self, chore: Chore, stop: asyncio.Event) -> None:
        step = partial(self._try, chore, stop)
        await every(step, chore.idle_s, stop, postponed=chore.postponed)
        with suppress(TransientError):
            async with self.database.connection() as connection:
                await leases.release(connection, chore.name, self.keeper)

    async def _try(self, chore: Chore, stop: asyncio.Event) -> bool:
        try:
            return await self.step(chore)
        except PermanentError as error:
            log.error("upkeep_refused", chore=chore.name, error=str(error))  # noqa: TRY400
            await pause(self.refused_s, stop)
            return False

    async def step(self, chore: Chore) -> bool:
        """Do a part of a chore; return False where there is nothing left, or it is not ours.

        Raises:
            TransientError: PostgreSQL is away, or a lock was not to be had.
            PermanentError: PostgreSQL refuses what the step writes.
        """
        async with self.database.connection() as connection:
            if not await chore.is_needed(connection):
                return False
            if not await leases.take(connection, chore.name, self.keeper, self.lease_s):
                return False
        async with self._prolonged(chore):
            has_more = await chore.step()
        self.moved(1)
        if not has_more and chore.idle_s > self.lease_s:
            await self._take(chore, chore.idle_s)
        return has_more

    @asynccontextmanager
    async def _prolonged(self, chore: Chore) -> AsyncIterator[None]:
        """Hold the lease for as long as the block runs."""
        prolonging = asyncio.create_task(self._prolong(chore))
        try:
            yield
        finally:
            prolonging.cancel()
            await asyncio.gather(prolonging, return_exceptions=True)

    async def _prolong(self, chore: Chore) -> None:
        while True:
            await asyncio.sleep(self.lease_s / 3)
            with suppress(TransientError):  # two that do the same chore do it twice: no harm
                await self._take(chore, self.lease_s)

    async def _take(self, chore: Chore, for_s: float) -> None:
        async with self.database.connection() as connection:
            await leases.take(connection, chore.name, self.keeper, for_s)
