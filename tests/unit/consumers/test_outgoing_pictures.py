"""Pictures on their way out: checked against what was tagged, copied once."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from consumers.delivery.courier import Picture
from consumers.delivery.stored import CopyCache, StoredPictures
from core.errors import ImageMissing, PermanentError
from core.transaction import Transaction
from tests.fakes.transactions import NoTransaction

CONTENT = b"the bytes of a picture"
DIGEST = hashlib.sha256(CONTENT).digest()


@dataclass(frozen=True)
class Copy:
    media_type: str
    data: bytes


@dataclass
class World(NoTransaction):
    """One image, its store, and a copier that counts."""

    uri: str = f"blob:{DIGEST.hex()}"
    tagged: bytes | None = DIGEST
    status: str = "tagged"
    content: bytes | PermanentError = CONTENT
    reads: int = 0
    copies_made: int = 0
    image_id: UUID = field(default_factory=uuid4)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Transaction]:
        yield self

    def transaction(self) -> Any:
        raise AssertionError("nothing is written")

    async def fetchrow(self, query: str, *args: Any) -> Any:
        now = datetime.now(UTC)
        row: dict[str, Any] = dict.fromkeys(
            (
                "owner", "reason", "detail", "job_id", "tags", "exif_datetime", "model", "width",
                "height", "label_version", "tagged_at",
            )
        )  # fmt: skip
        return row | {
            "image_id": self.image_id, "uri": self.uri, "path": "a.jpg",
            "media_type": "image/jpeg", "size_bytes": len(CONTENT), "sha256": DIGEST,
            "status": self.status, "arrived_at": now, "updated_at": now,
            "tagged_sha256": self.tagged,
        }  # fmt: skip

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError]:
        self.reads += 1
        return [self.content]

    async def outgoing_copy(self, data: bytes) -> Copy:
        self.copies_made += 1
        return Copy("image/jpeg", b"copy of " + data)

    def pictures(self, *, cache_bytes: int = 1000, most: int = 1000) -> StoredPictures:
        return StoredPictures(self, self, self, most, False, CopyCache(cache_bytes))


async def test_a_kept_picture_that_was_sent_before_is_neither_read_nor_copied_again() -> None:
    world = World()
    pictures = world.pictures()

    first = await pictures.outgoing(world.image_id, inline=True)
    second = await pictures.outgoing(world.image_id, inline=True)

    assert first == second == Picture("a.jpg", "image/jpeg", b"copy of " + CONTENT)
    assert (world.reads, world.copies_made) == (1, 1)


async def test_a_file_is_read_again_each_time_since_it_may_have_changed() -> None:
    world = World(uri="file:root/a.jpg")
    pictures = world.pictures()
    await pictures.outgoing(world.image_id, inline=True)

    world.content = b"other bytes"
    changed = await pictures.outgoing(world.image_id, inline=True)

    assert isinstance(changed, ImageMissing)
    assert changed.reason == "image_changed"
    assert world.reads == 2


async def test_an_unchanged_file_is_not_copied_again() -> None:
    world = World(uri="file:root/a.jpg")
    pictures = world.pictures()

    for _ in range(3):
        await pictures.outgoing(world.image_id, inline=True)

    assert (world.reads, world.copies_made) == (3, 1)


async def test_a_picture_that_is_gone_is_not_sent_from_memory() -> None:
    world = World()
    pictures = world.pictures()
    await pictures.outgoing(world.image_id, inline=True)

    world.status = "missing"
    gone = await pictures.outgoing(world.image_id, inline=True)

    assert isinstance(gone, ImageMissing)
    assert gone.reason == "image_gone"


async def test_large_pictures_travel_as_links() -> None:
    world = World()

    picture = await world.pictures(most=5).outgoing(world.image_id, inline=True)

    assert picture == Picture("a.jpg", "image/jpeg", None)
    assert world.copies_made == 0


def test_the_memory_for_copies_is_bounded_and_forgets_what_was_asked_for_longest_ago() -> None:
    cache = CopyCache(10)
    cache.put(b"a", Copy("image/jpeg", b"x" * 4))
    cache.put(b"b", Copy("image/jpeg", b"x" * 4))
    cache.get(b"a")

    cache.put(b"c", Copy("image/jpeg", b"x" * 4))
    cache.put(b"d", Copy("image/jpeg", b"x" * 11))

    assert [cache.get(name) is not None for name in (b"a", b"b", b"c", b"d")] == [
        True, False, True, False,
    ]  # fmt: skip
