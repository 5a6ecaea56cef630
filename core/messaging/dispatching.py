"""Publishing what a batch emitted, right after its commit and beside the next one."""

import asyncio
from collections import deque
from collections.abc import Sequence

from core.messaging.sweeper import OutboxPublisher
from schemas.record import Record

MOST_PER_CALL = 2_000
#: Beyond this the rows stay in the table for the sweeper: memory is not the place for a backlog.
MOST_WAITING = 20_000


class Dispatcher:
    """Publishes committed outbox rows in the order of their commits."""

    def __init__(self, publisher: OutboxPublisher) -> None:
        self._publisher = publisher
        self._waiting: deque[tuple[int, Record]] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, ids: Sequence[int], records: Sequence[Record]) -> None:
        """Take committed rows over."""
        if ids and len(self._waiting) + len(ids) <= MOST_WAITING:
            self._waiting.extend(zip(ids, records, strict=True))
            self._idle.clear()
            self._arrived.set()

    async def run(self) -> None:
        """Publish for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                rows = [
                    self._waiting.popleft() for _ in range(min(MOST_PER_CALL, len(self._waiting)))
                ]
                await self._publisher.publish_now(
                    [id_ for id_, _ in rows], [record for _, record in rows]
                )
            self._idle.set()

    async def quiet(self, timeout_s: float) -> bool:
        """Wait until all is published; False if it took too long (the sweeper will)."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
