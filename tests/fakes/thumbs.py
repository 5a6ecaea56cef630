"""Doubles of what makes and keeps thumbnails."""

import asyncio
from collections.abc import Sequence

from core.errors import BlobStoreAway, ImageUnreadable, PermanentError
from core.tags import Postponed, Slowness, Thumb, ThumbSize
from core.vision.decoding import sniff
from core.vision.decoding.pool.answers import OutgoingCopy


class ScriptedThumbs:
    """Makes thumbnails that say of which bytes they are.

    Attributes:
        asked: what it was asked for, in order.
        at_once: how many are under way; `most_at_once` at the same moment so far.
        go: awaited before each: a test may hold them back.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, ThumbSize]] = []
        self.at_once = self.most_at_once = 0
        self.go = asyncio.Event()
        self.go.set()

    async def thumb_soon(
        self, data: bytes, size: ThumbSize
    ) -> OutgoingCopy | PermanentError | Postponed:
        """Return one, unless the bytes call themselves slow, or are no picture."""
        self.asked.append((data, size))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.go.wait()
        finally:
            self.at_once -= 1
        if b"slow" in data:
            return Postponed(Slowness.PICTURE)
        if sniff.media_type(data) is None:
            return ImageUnreadable("no picture", reason="not_an_image")
        return OutgoingCopy(sniff.JPEG, b"\xff\xd8" + size.encode() + data[-8:] + b"\xff\xd9")


class MemoryThumbs:
    """Keeps thumbnails in memory.

    Attributes:
        is_away: it takes and gives none.
        go: awaited before each call.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[bytes, ThumbSize], bytes] = {}
        self.is_away = False
        self.go = asyncio.Event()
        self.go.set()
        self.calls = 0

    async def read(self, digest: bytes, size: ThumbSize) -> bytes | None:
        """Return a thumbnail."""
        await self._arrive()
        return self.kept.get((digest, size))

    async def keep(self, thumbs: Sequence[Thumb]) -> None:
        """Store thumbnails."""
        await self._arrive()
        for each in thumbs:
            self.kept.setdefault((each.sha256, each.size), each.jpeg)

    async def _arrive(self) -> None:
        self.calls += 1
        await self.go.wait()
        if self.is_away:
            raise BlobStoreAway("away")
