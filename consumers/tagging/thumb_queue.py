"""Thumbnails on their way to their store, beside the loop and never in its way.

A store that is slow or away costs thumbnails, which are made again when somebody asks for them; it
costs tagging nothing.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

import structlog

from core.blobs.thumbs import ThumbKeeper
from core.errors import PermanentError, TransientError
from core.repeating import pause
from core.tags import Thumb, ThumbSize

log = structlog.get_logger(__name__)

#: 16 to 24 kB each, so 12 MB; more than tagging makes while a store takes a breath.
MOST_WAITING = 512
AT_ONCE = 32  # half a megabyte in a statement
KEEP_S = 10.0
#: After a store was away; meanwhile the queue fills, and what comes then is dropped.
PAUSE_S = 5.0
#: How long a stop waits for what is left.
DRAIN_S = 2.0


@dataclass(slots=True)
class ThumbQueue:
    """Small thumbnails that wait to be kept, a bounded number of them.

    Args:
        keeper: where they go.
        count: is called with (outcome, number), for metrics.
        pause_s: after the store was away.
    """

    keeper: ThumbKeeper
    count: Callable[[str, int], object] = lambda _outcome, _number: None
    pause_s: float = PAUSE_S
    _waiting: dict[bytes, bytes] = field(default_factory=dict)
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, digest: bytes, jpeg: bytes) -> None:
        """Take a thumbnail, if there is room for it."""
        if len(self._waiting) >= MOST_WAITING and digest not in self._waiting:
            self.count("dropped", 1)
            return
        self._waiting[digest] = jpeg
        self._some.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep what comes until `stop` is set; then what is left, for a moment."""
        stopping = asyncio.create_task(self._wake_at(stop))
        try:
            while not stop.is_set():
                await self._some.wait()
                if not await self._keep_some():
                    await pause(self.pause_s, stop)
        finally:
            stopping.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._waiting and await self._keep_some():
                    pass
        self.count("dropped", len(self._waiting))

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._some.set()

    async def _keep_some(self) -> bool:
        """Keep some of those that wait; return False where the store does not take them."""
        some = dict(islice(self._waiting.items(), AT_ONCE))
        is_kept = not some or await self._is_kept(some)
        for digest in some:
            del self._waiting[digest]
        if not self._waiting:
            self._some.clear()
        return is_kept

    async def _is_kept(self, some: dict[bytes, bytes]) -> bool:
        thumbs = [Thumb(digest, ThumbSize.SMALL, jpeg) for digest, jpeg in some.items()]
        try:
            async with asyncio.timeout(KEEP_S):
                await self.keeper.keep(thumbs)
        except (TransientError, PermanentError, TimeoutError) as error:
            log.info("thumbs_not_kept", thumbs=len(some), detail=str(error)[:200])
            self.count("not_kept", len(some))
            return False
        self.count("kept", len(some))
        return True
