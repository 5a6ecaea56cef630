"""A keeper of bytes in memory."""

import time
from collections.abc import Sequence
from datetime import timedelta

from core.errors import ImageMissing, ImageUnreadable
from core.transaction import Transaction


class MemoryKeeper:
    """A `core.blobs.store.BlobKeeper` in memory."""

    def __init__(self) -> None:
        self.contents: dict[bytes, bytes] = {}
        self.put_at: dict[bytes, float] = {}

    async def read(self, digest: bytes, *, max_bytes: int) -> bytes:
        if digest not in self.contents:
            raise ImageMissing(f"blob:{digest.hex()}")
        if len(self.contents[digest]) > max_bytes:
            raise ImageUnreadable(f"over {max_bytes} bytes", reason="image_too_large")
        return self.contents[digest]

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:
        self.contents.setdefault(digest, content)
        self.put_at[digest] = time.time()

    async def kept(self, after: bytes, limit: int) -> Sequence[bytes]:
        return sorted(digest for digest in self.contents if digest > after)[:limit]

    async def discard(self, digest: bytes, older_than: timedelta) -> bool:
        at = self.put_at.get(digest)
        if at is None or time.time() - at < older_than.total_seconds():
            return False
        del self.contents[digest], self.put_at[digest]
        return True
