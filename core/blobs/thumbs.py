"""Where thumbnails are kept: with the originals, under a prefix of their own.

None of them has to be there: a missing one is made again when somebody asks for it. So they are
written without waiting for a disk, and belong in no backup.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from core.blobs.keepers import APART, BucketKeeper, DirectoryKeeper
from core.blobs.sources import open_bucket
from core.blobs.store import BlobKeeper
from core.errors import ImageMissing, ImageUnreadable
from core.tags import Thumb, ThumbSize

#: Beyond it it is none of ours: a large one of noise has 1.5 MB.
MAX_BYTES = 4 * 1024 * 1024
_STARTS, _ENDS = b"\xff\xd8", b"\xff\xd9"


class ThumbKeeper(Protocol):
    """Keeps thumbnails by the hash of the picture that they show."""

    async def read(self, digest: bytes, size: ThumbSize) -> bytes | None:
        """Return a thumbnail; None where it is not there.

        Raises:
            TransientError: the place is away.
        """
        ...

    async def keep(self, thumbs: Sequence[Thumb]) -> None:
        """Store thumbnails; those that are there stay.

        Raises:
            TransientError: the place is away.
        """
        ...


def thumb_keepers(url: str) -> dict[str, BlobKeeper]:
    """Return the keepers of thumbnails below `ARCHIVE_BLOBS`, by name; none for PostgreSQL.

    Raises:
        ConfigurationError: as `keepers.keeper_of`.
    """
    return {f"kept_{size}_thumbs": keeper for size, keeper in _keepers(url).items()}


def thumb_keeper_of(url: str, in_postgres: ThumbKeeper) -> ThumbKeeper:
    """Return the keeper of thumbnails that goes with `ARCHIVE_BLOBS`.

    Raises:
        ConfigurationError: as `keepers.keeper_of`.
    """
    keepers = _keepers(url)
    return KeptThumbs(keepers) if keepers else in_postgres


def _keepers(url: str) -> dict[ThumbSize, BlobKeeper]:
    scheme, _, rest = url.partition(":")
    if scheme == "pg":
        return {}
    if scheme == "file":
        home = Path("/" + rest.lstrip("/"))
        return {size: DirectoryKeeper(home, f"{APART}{size}") for size in ThumbSize}
    return {
        size: BucketKeeper(open_bucket(f"{url.rstrip('/')}/{APART}{size}", "ARCHIVE_BLOBS"), scheme)
        for size in ThumbSize
    }


class KeptThumbs:
    """Thumbnails in a directory or a bucket."""

    def __init__(self, keepers: Mapping[ThumbSize, BlobKeeper]) -> None:
        self._keepers = keepers

    async def read(self, digest: bytes, size: ThumbSize) -> bytes | None:
        """As `ThumbKeeper.read`."""
        try:
            content = await self._keepers[size].read(digest, max_bytes=MAX_BYTES)
        except (ImageMissing, ImageUnreadable):
            return None
        # After a loss of power a file may have its name and not all of its bytes.
        return content if content.startswith(_STARTS) and content.endswith(_ENDS) else None

    async def keep(self, thumbs: Sequence[Thumb]) -> None:
        """As `ThumbKeeper.keep`."""
        await asyncio.gather(
            *(self._keepers[each.size].put(each.sha256, each.jpeg, None) for each in thumbs)
        )
