"""Two lanes with one model: the fresh arrivals go before the bulk ones."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from consumers.tagging.arrivals import Arrival
from consumers.tagging.role import TaggingItem, TaggingRole
from core.messaging.liveness import report_progress
from core.messaging.role import Outcome, Received
from core.transaction import Transaction

REPORT_S = 5.0  # well under CONSUMER_STALL_LIMIT_S, after which the watchdog ends the process


class RightOfWay:
    """Lets the steps of some work wait while other work is under way.

    Whenever the other work ends, each step that waits begins, even if more of the other work begins
    at the same moment: so both always move on.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._free = asyncio.Event()
        self._free.set()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Let steps wait until the block is left."""
        self._under_way += 1
        self._free.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._free.set()

    async def turn(self) -> None:
        """Return when a step may begin.

        Whoever waits is not stuck: if the other work is, its own watchdog says so.
        """
        while True:
            try:
                async with asyncio.timeout(REPORT_S):
                    await self._free.wait()
            except TimeoutError:
                report_progress()
            else:
                return


@dataclass(frozen=True, slots=True)
class FirstInLine:
    """The tagging role of the lane that has the right of way while it prepares a batch."""

    role: TaggingRole
    way: RightOfWay

    async def prepare(self, batch: Sequence[Received[Arrival]]) -> list[TaggingItem]:
        """Fetch, decode and tag, while others wait."""
        with self.way.taken():
            return await self.role.prepare(batch)

    async def apply(self, items: Sequence[TaggingItem], tx: Transaction) -> Outcome:
        """Write tags and failures."""
        return await self.role.apply(items, tx)
