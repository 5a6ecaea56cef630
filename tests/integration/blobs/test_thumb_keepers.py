"""The contract of all keepers of thumbnails; and what keeps them apart from the originals."""

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore
from pydantic import SecretStr

from core.blobs import thumbs
from core.blobs.keepers import APART, BucketKeeper, DirectoryKeeper
from core.blobs.thumbs import KeptThumbs, ThumbKeeper, thumb_keeper_of, thumb_keepers
from core.errors import BlobStoreAway
from core.settings import DatabaseSettings
from core.storage.pool import Pool, open_pool
from core.storage.thumbs import PostgresThumbs
from core.tags import Thumb, ThumbSize
from tests.fakes.thumbs import MemoryThumbs

NO_AGE = timedelta(seconds=-1)


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def thumb(number: int, size: ThumbSize = ThumbSize.SMALL, text: bytes = b"") -> Thumb:
    return Thumb(digest(number), size, b"\xff\xd8%d%s%s\xff\xd9" % (number, size.encode(), text))


@pytest.fixture
async def pool(database_url: str) -> Any:
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as opened:
        yield opened


@pytest.fixture(params=["memory", "table", "directory", "bucket"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> ThumbKeeper:
    if request.param == "table":
        return PostgresThumbs(request.getfixturevalue("pool"))
    if request.param == "directory":
        return thumb_keeper_of(f"file:{tmp_path}", MemoryThumbs())
    if request.param == "memory":
        return MemoryThumbs()
    return KeptThumbs({size: BucketKeeper(MemoryStore(), "s3") for size in ThumbSize})


async def test_thumbnails_come_back_by_picture_and_size(keeper: ThumbKeeper) -> None:
    small, large, other = thumb(1), thumb(1, ThumbSize.LARGE), thumb(2)
    await keeper.keep([small, large, other])
    assert await keeper.read(digest(1), ThumbSize.SMALL) == small.jpeg
    assert await keeper.read(digest(1), ThumbSize.LARGE) == large.jpeg
    assert await keeper.read(digest(2), ThumbSize.SMALL) == other.jpeg


async def test_what_is_not_there_is_none(keeper: ThumbKeeper) -> None:
    assert await keeper.read(digest(1), ThumbSize.SMALL) is None
    await keeper.keep([thumb(1)])
    assert await keeper.read(digest(1), ThumbSize.LARGE) is None


async def test_keeping_twice_is_harmless(keeper: ThumbKeeper) -> None:
    await keeper.keep([thumb(1)])
    await keeper.keep([thumb(1), thumb(1)])
    assert await keeper.read(digest(1), ThumbSize.SMALL) == thumb(1).jpeg


async def test_many_that_keep_the_same_at_once_do_not_hinder_each_other(
    keeper: ThumbKeeper,
) -> None:
    some = [thumb(number) for number in range(50)]
    await asyncio.gather(*(keeper.keep(order) for order in (some, some[::-1], some, some[::-1])))
    for each in some:
        assert await keeper.read(each.sha256, ThumbSize.SMALL) == each.jpeg


async def test_a_file_that_lost_its_end_is_none(tmp_path: Path) -> None:
    keeper = thumb_keeper_of(f"file:{tmp_path}", MemoryThumbs())
    await keeper.keep([thumb(1)])
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    for content in (b"", thumb(1).jpeg[:-1], b"<html>"):
        file.write_bytes(content)
        assert await keeper.read(digest(1), ThumbSize.SMALL) is None


async def test_a_store_that_is_not_there_is_away_and_not_empty(tmp_path: Path) -> None:
    keeper = thumb_keeper_of(f"file:{tmp_path / 'gone'}", MemoryThumbs())
    with pytest.raises(BlobStoreAway):
        await keeper.read(digest(1), ThumbSize.SMALL)


async def test_a_directorys_originals_and_thumbnails_are_told_apart(tmp_path: Path) -> None:
    originals, url = DirectoryKeeper(tmp_path), f"file:{tmp_path}"
    small = thumb_keepers(url)["kept_small_thumbs"]
    assert list(await small.kept(b"", 10)) == []  # before there are any
    for number in range(3):
        await originals.put(digest(number), b"original", None)
    await thumb_keeper_of(url, MemoryThumbs()).keep([thumb(0), thumb(7)])

    assert sorted(await originals.kept(b"", 10)) == sorted(map(digest, range(3)))
    assert sorted(await small.kept(b"", 10)) == sorted([digest(0), digest(7)])
    assert list(await thumb_keepers(url)["kept_large_thumbs"].kept(b"", 10)) == []
    assert await small.discard(digest(0), NO_AGE)
    assert await originals.read(digest(0), max_bytes=100) == b"original"


async def test_a_buckets_thumbnails_end_the_list_of_its_originals() -> None:
    """They stand in the same list, behind: without an end the pruner would go round for ever."""
    bucket = MemoryStore()
    originals = BucketKeeper(bucket, "s3")
    for number in range(3):
        await originals.put(digest(number), b"original", None)
    for number in range(20):
        name = digest(number).hex()
        await bucket.put_async(f"{APART}small/{name[:2]}/{name[2:4]}/{name}", b"thumb")

    assert list(await originals.kept(b"", 10)) == sorted(map(digest, range(3)))
    first = list(await originals.kept(b"", 2))
    assert [*first, *await originals.kept(first[-1], 2)] == sorted(map(digest, range(3)))


def test_a_bucket_has_a_prefix_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def opened(url: str, _variable: str) -> MemoryStore:
        asked.append(url)
        return MemoryStore()

    monkeypatch.setattr(thumbs, "open_bucket", opened)
    thumb_keeper_of("s3://archive/photos/", MemoryThumbs())
    assert asked == [f"s3://archive/photos/thumbs/{size}" for size in ("small", "large")]


def test_postgresql_keeps_them_where_it_keeps_the_originals() -> None:
    here = MemoryThumbs()
    assert thumb_keeper_of("pg:", here) is here
    assert thumb_keepers("pg:") == {}


async def test_a_crowded_table_is_asked_for_one_row(pool: Pool) -> None:
    await PostgresThumbs(pool).keep([thumb(number) for number in range(200)])
    plan = await pool.fetch(
        "EXPLAIN SELECT content FROM thumbs WHERE sha256 = $1 AND size = 'small'", digest(3)
    )
    assert "thumbs_pkey" in "\n".join(row[0] for row in plan)
