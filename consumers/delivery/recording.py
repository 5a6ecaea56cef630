"""Write outcomes to the database, many in one statement.

While a statement runs, further outcomes are collected for the next one. There is no timer, and the
slower the database, the more webhooks share a statement.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from consumers.delivery.attempts import Tried
from core.errors import PermanentError, TransientError
from core.storage.delivery.deliveries import Leased

log = structlog.get_logger()

MAX_BATCH = 200
RETRY_S = 0.5

Outcomes = Sequence[tuple[Leased, Tried]]


@dataclass(slots=True)
class _Waiting:
    lease: Leased
    tried: Tried
    deadline: float
    done: "asyncio.Future[None]"


@dataclass(slots=True)
class Recorder:
    """Writes outcomes with `write`, as many at once as there are.

    Attributes:
        write: runs one statement.
        hold_s: how long an outcome is kept while the database is away; less than the lease.
        written: called after each statement.
        pending: outcomes that are not written yet.
    """

    write: Callable[[Outcomes], Awaitable[None]]
    hold_s: float
    written: Callable[[], None]
    pending: int = field(default=0, init=False)
    _waiting: list[_Waiting] = field(default_factory=list)
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    async def record(self, lease: Leased, tried: Tried) -> None:
        """Wait until the outcome is written, or its time is over."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        deadline = time.monotonic() + self.hold_s
        self._waiting.append(_Waiting(lease, tried, deadline, done))
        self._some.set()
        self.pending += 1
        try:
            await done
        finally:
            self.pending -= 1

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._some.wait()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if not self._waiting:
                self._some.clear()
            await self._keep_trying(batch)
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_result(None)
            self.written()

    async def _keep_trying(self, batch: Sequence[_Waiting]) -> None:
        """Write with retries while the leases last, since a 2xx must not be lost."""
        while batch:
            try:
                await self.write([(waiting.lease, waiting.tried) for waiting in batch])
            except TransientError as error:
                log.warning("outcomes_not_recorded", count=len(batch), error=str(error))
                await asyncio.sleep(RETRY_S)
                now = time.monotonic()
                batch = [waiting for waiting in batch if waiting.deadline > now]
            except PermanentError as error:
                log.warning("outcomes_refused", count=len(batch), error=str(error))
                await self._one_by_one(batch)
                return
            else:
                return

    async def _one_by_one(self, batch: Sequence[_Waiting]) -> None:
        """Write each outcome by itself, since PostgreSQL refuses one of them.

        The refused one is written once more without its words. Where that is refused too (the row
        is gone), there is nothing left to record.
        """
        for waiting in batch:
            plain = replace(waiting.tried, attempt=replace(waiting.tried.attempt, detail=None))
            for tried in (waiting.tried, plain):
                try:
                    await self.write([(waiting.lease, tried)])
                    break
                except (PermanentError, TransientError) as error:
                    log.warning(
                        "outcome_refused",
                        delivery_id=str(waiting.lease.delivery_id),
                        error=str(error),
                    )
