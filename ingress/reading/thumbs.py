"""Thumbnails of images: from where they are kept, the missing ones made on demand."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from core.blobs.thumbs import ThumbKeeper
from core.errors import ImageMissing, PermanentError, TransientError
from core.tags import Postponed, Thumb, ThumbSize
from ingress.http.problems import Problem
from ingress.reading.in_turn import InTurn
from ingress.reading.lent_decoders import ThumbDecoder

log = structlog.get_logger(__name__)

#: Two are decoded while the bytes of a third one come.
AT_ONCE = 3
#: How long one is kept in its store at most, while others wait for their turn.
KEEP_S = 2.0
#: For so long a picture that gives none is not tried again.
REMEMBERED_S = 600.0
MOST_REMEMBERED = 10_000

VERSION_CHARS = 12

Content = bytes | PermanentError | Postponed
#: Returns each URI's bytes, or why there are none: `core.blobs.store.BlobStore.read_soon`.
ReadSoon = Callable[[Sequence[str]], Awaitable[Sequence[Content]]]


def version_of(digest: bytes | None) -> str | None:
    """Return `v` of the address of a picture's thumbnail; None while its bytes are not known."""
    return None if digest is None else digest.hex()[:VERSION_CHARS]


@dataclass(frozen=True, slots=True)
class Pictured:
    """A picture of which a thumbnail is wanted.

    Attributes:
        uri: where its bytes are.
        digest: their SHA-256; None where it is not known yet.
    """

    uri: str
    digest: bytes | None


@dataclass(slots=True)
class Thumbs:
    """Finds thumbnails, and makes those that are missing.

    Attributes:
        keeper: where they are kept.
        read: gives the bytes of pictures.
        decoder: makes them.
        count: is called with the outcome of each that was made, for metrics.
        clock: monotonic seconds.
    """

    keeper: ThumbKeeper
    read: ReadSoon
    decoder: ThumbDecoder
    count: Callable[[str], object] = lambda _outcome: None
    clock: Callable[[], float] = time.monotonic
    _making: InTurn[bytes] = field(default_factory=lambda: InTurn(AT_ONCE))
    _without: OrderedDict[tuple[str, ThumbSize], tuple[float, str]] = field(
        default_factory=OrderedDict
    )

    @property
    def waiting(self) -> int:
        """Return how many wait to be made."""
        return self._making.waiting

    async def kept(self, picture: Pictured, size: ThumbSize) -> bytes | None:
        """Return a thumbnail that is kept; None where it has to be made.

        Raises:
            Problem: `thumb_missing`: it was tried a short while ago.
            TransientError: the store is away.
        """
        if (why := self._why_none(picture.uri, size)) is not None:
            raise Problem("thumb_missing", why)
        if picture.digest is None:
            return None
        return await self.keeper.read(picture.digest, size)

    async def make(self, picture: Pictured, size: ThumbSize, holder: str) -> bytes:
        """Return a thumbnail that is made now, once for all who ask for that of this image's file.

        Args:
            holder: who asks.

        Raises:
            Problem: `thumb_missing` says why there is none.
            TransientError: the bytes, or the decoders, are away.
        """
        # Not by the bytes alone: why a file gives none tells its path, for its owners to know.
        return await self._making.of((picture, size), holder, lambda: self._make(picture, size))

    async def close(self) -> None:
        """End what is under way."""
        await self._making.close()

    async def _make(self, picture: Pictured, size: ThumbSize) -> bytes:
        if picture.digest is not None:  # it may have been made since `kept` looked
            kept = await self.keeper.read(picture.digest, size)
            if kept is not None:
                return kept
        (content,) = await self.read([picture.uri])
        if not isinstance(content, bytes):
            raise self._none(picture.uri, size, content)
        digest = (await asyncio.to_thread(hashlib.sha256, content)).digest()
        if picture.digest not in {None, digest}:
            raise self._none(picture.uri, size, _changed())
        made = await self.decoder.thumb_soon(content, size)
        if isinstance(made, PermanentError | Postponed):
            raise self._none(picture.uri, size, made)
        self.count(await self._keep(Thumb(digest, size, made.data)))
        return made.data

    async def _keep(self, thumb: Thumb) -> str:
        try:
            async with asyncio.timeout(KEEP_S):
                await self.keeper.keep([thumb])
        except (TransientError, PermanentError, TimeoutError) as error:
            log.info("thumbs_not_kept", thumbs=1, detail=str(error)[:200])
            return "not_kept"
        return "kept"

    def _none(self, uri: str, size: ThumbSize, why: PermanentError | Postponed) -> Problem:
        self.count("none")
        if isinstance(why, Postponed):
            detail = f"{why.why.value}: it takes more than its share of a decoder"
        else:
            detail = f"{why.reason}: {why}"
        self._without[uri, size] = (self.clock() + REMEMBERED_S, detail)
        self._without.move_to_end((uri, size))
        if len(self._without) > MOST_REMEMBERED:
            self._without.popitem(last=False)
        return Problem("thumb_missing", detail)

    def _why_none(self, uri: str, size: ThumbSize) -> str | None:
        until, detail = self._without.get((uri, size), (0.0, ""))
        return detail if self.clock() < until else None


def _changed() -> ImageMissing:
    return ImageMissing("its bytes have changed since it was tagged", reason="image_changed")
