"""Outgoing pictures: checked against the tagged bytes, copied once."""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from consumers.delivery.courier import PASSING, OutgoingPicture
from consumers.delivery.pictures import CopyCache, EncodedCopy, StoredPictures
from core.errors import DatabaseAway, ImageMissing, PermanentError
from core.transaction import Transaction
from core.vision.decoding.pool.answers import OutgoingCopy
from tests.fakes.transactions import NoTransaction

CONTENT = b"the bytes of a picture"
DIGEST = hashlib.sha256(CONTENT).digest()


@dataclass
class World(NoTransaction):
    """One image, its store, and a copier that counts."""

    uri: str = f"blob:{DIGEST.hex()}"
    tagged: bytes | None = DIGEST
    status: str = "tagged"
    content: bytes | PermanentError = CONTENT
    away: bool = False
    lookups: list[list[UUID]] = field(default_factory=list)
    reads: int = 0
    copies_made: int = 0
    size_bytes: int | None = len(CONTENT)
    image_id: UUID = field(default_factory=uuid4)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Transaction]:
        yield self

    def transaction(self) -> Any:
        raise AssertionError("nothing is written")

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        self.lookups.append(list(args[0]))
        if self.away:
            raise DatabaseAway("away")
        row = {
            "image_id": self.image_id, "uri": self.uri, "path": "a.jpg",
            "media_type": "image/jpeg", "sha256": DIGEST, "status": self.status,
            "tagged_sha256": self.tagged, "size_bytes": self.size_bytes,
        }  # fmt: skip
        return [row] if self.image_id in args[0] else []

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError]:
        self.reads += 1
        return [self.content]

    async def outgoing_copy(self, data: bytes) -> OutgoingCopy:
        self.copies_made += 1
        return OutgoingCopy("image/jpeg", b"copy of " + data)

    def pictures(self, *, cache_bytes: int = 1000, most: int = 1000) -> StoredPictures:
        return StoredPictures(
            self, self.read_all, self.outgoing_copy, most, False, CopyCache(cache_bytes)
        )


async def freely(size: int) -> None:
    """Reserve without a limit."""


async def test_a_kept_picture_that_was_sent_before_is_neither_read_nor_copied_again() -> None:
    world = World()
    pictures = world.pictures()

    first = await pictures.outgoing(world.image_id, inline=True, reserve=freely)
    second = await pictures.outgoing(world.image_id, inline=True, reserve=freely)

    assert (
        first == second == OutgoingPicture("a.jpg", "image/jpeg", b64encode(b"copy of " + CONTENT))
    )
    assert (world.reads, world.copies_made) == (1, 1)


async def test_a_file_is_read_again_each_time_since_it_may_have_changed() -> None:
    world = World(uri="file:root/a.jpg")
    pictures = world.pictures()
    await pictures.outgoing(world.image_id, inline=True, reserve=freely)

    world.content = b"other bytes"
    changed = await pictures.outgoing(world.image_id, inline=True, reserve=freely)

    assert isinstance(changed, ImageMissing)
    assert changed.reason == "image_changed"
    assert world.reads == 2


async def test_an_unchanged_file_is_not_copied_again() -> None:
    world = World(uri="file:root/a.jpg")
    pictures = world.pictures()

    for _ in range(3):
        await pictures.outgoing(world.image_id, inline=True, reserve=freely)

    assert (world.reads, world.copies_made) == (3, 1)


async def test_a_picture_that_is_gone_is_not_sent_from_memory() -> None:
    world = World()
    pictures = world.pictures()
    await pictures.outgoing(world.image_id, inline=True, reserve=freely)

    world.status = "missing"
    gone = await pictures.outgoing(world.image_id, inline=True, reserve=freely)

    assert isinstance(gone, ImageMissing)
    assert gone.reason == "image_gone"


async def test_a_deleted_image_is_gone_and_one_that_nobody_knows_may_still_come() -> None:
    world = World(status="deleted")
    pictures = world.pictures()

    gone = await pictures.outgoing(world.image_id, inline=True, reserve=freely)
    unknown = await pictures.outgoing(uuid4(), inline=True, reserve=freely)

    assert isinstance(gone, ImageMissing)
    assert gone.reason == "image_gone"
    assert isinstance(unknown, ImageMissing)
    assert unknown.reason == "image_unknown"
    assert unknown.reason in PASSING


async def test_large_pictures_travel_as_links() -> None:
    world = World()

    picture = await world.pictures(most=5).outgoing(world.image_id, inline=True, reserve=freely)

    assert picture == OutgoingPicture("a.jpg", "image/jpeg", None)
    assert world.copies_made == 0


def test_the_memory_for_copies_is_bounded_and_forgets_what_was_asked_for_longest_ago() -> None:
    cache = CopyCache(10)
    cache.put(b"a", EncodedCopy("image/jpeg", b"x" * 4))
    cache.put(b"b", EncodedCopy("image/jpeg", b"x" * 4))
    cache.get(b"a")

    cache.put(b"c", EncodedCopy("image/jpeg", b"x" * 4))
    cache.put(b"d", EncodedCopy("image/jpeg", b"x" * 11))

    assert [cache.get(name) is not None for name in (b"a", b"b", b"c", b"d")] == [
        True, False, True, False,
    ]  # fmt: skip


async def test_pictures_wanted_at_the_same_moment_are_looked_up_together() -> None:
    world = World()
    pictures = world.pictures()
    unknown = uuid4()

    sent = await asyncio.gather(
        *(pictures.outgoing(world.image_id, inline=True, reserve=freely) for _ in range(5)),
        pictures.outgoing(unknown, inline=True, reserve=freely),
    )

    assert world.lookups == [[world.image_id, unknown]]
    assert [isinstance(one, OutgoingPicture) for one in sent] == [True] * 5 + [False]


async def test_a_lookup_that_fails_fails_for_all_who_waited_and_the_next_one_is_made_anew() -> None:
    world = World(away=True)
    pictures = world.pictures()

    failed = await asyncio.gather(
        *(pictures.outgoing(world.image_id, inline=True, reserve=freely) for _ in range(3)),
        return_exceptions=True,
    )
    world.away = False

    assert [type(one) for one in failed] == [DatabaseAway] * 3
    assert isinstance(
        await pictures.outgoing(world.image_id, inline=True, reserve=freely), OutgoingPicture
    )


async def test_one_who_gives_up_does_not_cancel_the_lookup_of_the_others() -> None:
    world = World()
    pictures = world.pictures()
    impatient = asyncio.create_task(pictures.outgoing(world.image_id, inline=True, reserve=freely))
    patient = asyncio.create_task(pictures.outgoing(world.image_id, inline=True, reserve=freely))
    await asyncio.sleep(0)

    impatient.cancel()

    assert isinstance(await patient, OutgoingPicture)
    with pytest.raises(asyncio.CancelledError):
        await impatient


@pytest.mark.parametrize(("known", "reserved"), [(700, 700), (None, 1000)])
async def test_room_is_reserved_for_a_picture_before_its_bytes_are_read(
    known: int | None, reserved: int
) -> None:
    world, asked = World(size_bytes=known), list[tuple[int, int]]()

    async def reserve(size: int) -> None:
        asked.append((size, world.reads))

    pictures = world.pictures()
    for _ in range(2):
        await pictures.outgoing(world.image_id, inline=True, reserve=reserve)

    copy = len(b"copy of " + CONTENT)
    assert asked == [(reserved, 0), (copy, 1)]  # the second time for the cached copy
