"""Outgoing pictures: checked against the tagged bytes, without metadata, copied once.

Only the bytes that were tagged are ever sent.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from consumers.delivery.batch_loader import BatchLoader
from consumers.delivery.budget import Reserve
from consumers.delivery.courier import (
    OutgoingPicture,
    image_changed,
    image_gone,
    image_unknown,
)
from core.errors import ImageMissing, PermanentError
from core.storage.archive import images
from core.storage.archive.images import OutgoingImage
from core.transaction import Database
from core.vision.decoding.pool.answers import OutgoingCopy
from core.webhooks.body import encode_image

KEPT = "blob:"  # URIs of bytes that are found by their SHA-256
OFF_LOOP_BYTES = 256 * 1024
GONE = frozenset({"missing", "deleted"})
MISSING = ImageMissing.default_reason  # nothing is there; other reasons: it cannot be read now


#: Returns each URI's bytes, or why there are none: `core.blobs.store.BlobStore.read_all`.
ReadAll = Callable[[Sequence[str]], Awaitable[Sequence[bytes | PermanentError]]]
#: Returns a picture without metadata: `core.vision.decoding.decoder.DecodePool.outgoing_copy`.
MakeCopy = Callable[[bytes], Awaitable[OutgoingCopy | PermanentError]]


@dataclass(frozen=True, slots=True)
class EncodedCopy:
    """A copy encoded in base64."""

    media_type: str
    base64: bytes


class CopyCache:
    """A cache of recently sent copies by their original's hash, bounded in bytes.

    One picture is the answer to many queries, and goes out again with each retry: decoding it
    costs more than all the rest of a delivery, and the base64 more than most of what is left.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._copies: OrderedDict[bytes, EncodedCopy] = OrderedDict()

    def get(self, digest: bytes) -> EncodedCopy | None:
        """Return the copy of the picture with this SHA-256."""
        copy = self._copies.get(digest)
        if copy is not None:
            self._copies.move_to_end(digest)
        return copy

    def put(self, digest: bytes, copy: EncodedCopy) -> None:
        """Cache a copy; drop the least recently used ones."""
        if digest in self._copies or len(copy.base64) > self._max_bytes:
            return
        self._copies[digest] = copy
        self._bytes += len(copy.base64)
        while self._bytes > self._max_bytes:
            _, old = self._copies.popitem(last=False)
            self._bytes -= len(old.base64)


@dataclass(slots=True)
class StoredPictures:
    """Outgoing images: checked against the tagged bytes, without metadata."""

    database: Database
    read_all: ReadAll
    make_copy: MakeCopy
    inline_max_bytes: int
    keep_exif: bool
    copies: CopyCache
    _known: BatchLoader[UUID, OutgoingImage] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no lookup under way."""
        self._known = BatchLoader(self._look_up)

    async def _look_up(self, image_ids: Sequence[UUID]) -> Mapping[UUID, OutgoingImage]:
        async with self.database.connection() as connection:
            return await images.outgoing(connection, image_ids)

    async def outgoing(
        self, image_id: UUID, *, inline: bool, reserve: Reserve
    ) -> OutgoingPicture | PermanentError:
        """Return the image; without bytes where a link was asked for or they are too many.

        Raises:
            TransientError: the database or the store of the bytes is away.
        """
        known = await self._known.get(image_id)
        if known is None:
            return image_unknown(image_id)
        if known.status in GONE:
            return image_gone(image_id)
        copy = self._sent_before(known) if inline else None
        if copy is not None:
            await reserve(len(copy.base64) * 3 // 4)
            return OutgoingPicture(known.path, copy.media_type, copy.base64)
        # The size of a file is not known yet; it may be up to the limit.
        await reserve(self.inline_max_bytes if known.size_bytes is None else known.size_bytes)
        found = await self._outgoing_bytes(known, inline=inline)
        if isinstance(found, PermanentError | OutgoingPicture):
            return found
        # The original is freed by now: it would be held beside the copy and the base64.
        unencoded, digest = found
        copy = EncodedCopy(unencoded.media_type, await encode_image(unencoded.data))
        if not self.keep_exif:
            self.copies.put(digest, copy)
        return OutgoingPicture(known.path, copy.media_type, copy.base64)

    async def _outgoing_bytes(
        self, known: OutgoingImage, *, inline: bool
    ) -> tuple[OutgoingCopy, bytes] | OutgoingPicture | PermanentError:
        content = (await self.read_all([known.uri]))[0]
        if isinstance(content, PermanentError):
            return image_gone(known.image_id) if content.reason == MISSING else content
        media_type = known.media_type or "application/octet-stream"
        digest = await _sha256(content)
        if known.tagged_sha256 is not None and digest != known.tagged_sha256:
            return image_changed(known.image_id)
        if not inline or len(content) > self.inline_max_bytes:
            return OutgoingPicture(known.path, media_type, None)
        if self.keep_exif:
            return OutgoingCopy(media_type, content), digest
        return await self._copy(known.path, content, digest)

    async def _copy(
        self, path: str, content: bytes, digest: bytes
    ) -> tuple[OutgoingCopy, bytes] | OutgoingPicture | PermanentError:
        if copy := self.copies.get(digest):
            return OutgoingPicture(path, copy.media_type, copy.base64)
        made = await self.make_copy(content)
        if isinstance(made, PermanentError):
            return made
        return made, digest

    def _sent_before(self, known: OutgoingImage) -> EncodedCopy | None:
        """Return a copy made before, of bytes that cannot change: they are kept by their hash."""
        if not known.uri.startswith(KEPT) or known.sha256 is None:
            return None
        if known.tagged_sha256 not in {None, known.sha256}:
            return None
        return self.copies.get(known.sha256)


async def _sha256(content: bytes) -> bytes:
    """Return the hash of an image's bytes, of large ones off the loop: it takes 1 ms per MiB."""
    if len(content) <= OFF_LOOP_BYTES:
        return sha256(content)
    return await asyncio.to_thread(sha256, content)


def sha256(content: bytes) -> bytes:
    """Return the hash of an image's bytes."""
    return hashlib.sha256(content).digest()
