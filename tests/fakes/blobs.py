"""Bytes by hash, in memory."""

from core.errors import ImageMissing, ImageUnreadable
from core.transaction import Transaction


class MemoryKeeper:
    """A `core.blobs.store.Keeper` that forgets when the test ends."""

    def __init__(self) -> None:
        self.contents: dict[bytes, bytes] = {}

    async def read(self, digest: bytes, *, max_bytes: int) -> bytes:
        if digest not in self.contents:
            raise ImageMissing(f"blob:{digest.hex()}")
        if len(self.contents[digest]) > max_bytes:
            raise ImageUnreadable(f"over {max_bytes} bytes", reason="image_too_large")
        return self.contents[digest]

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:
        self.contents.setdefault(digest, content)

    async def delete(self, digest: bytes, tx: Transaction | None) -> None:
        self.contents.pop(digest, None)
