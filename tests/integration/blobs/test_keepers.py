"""The contract of all keepers of bytes, and PostgreSQL's in a transaction."""

import hashlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from pydantic import SecretStr

from core.blobs.keepers import BucketKeeper, DirectoryKeeper, keeper_of
from core.blobs.store import BlobKeeper
from core.errors import BlobStoreAway, ConfigurationError, ImageMissing, ImageUnreadable
from core.settings import DatabaseSettings
from core.storage import retention
from core.storage.archive.blobs import PostgresBlobs
from core.storage.pool import Pool, open_pool
from tests.fakes.blobs import MemoryKeeper

PHOTO = b"\xff\xd8photo" * 100
DIGEST = hashlib.sha256(PHOTO).digest()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as opened:
        yield opened


@pytest.fixture(params=["memory", "table", "directory", "bucket"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> BlobKeeper:
    if request.param == "table":
        return PostgresBlobs(request.getfixturevalue("pool"))
    if request.param == "directory":
        return DirectoryKeeper(tmp_path)
    return MemoryKeeper() if request.param == "memory" else BucketKeeper(MemoryStore(), "s3")


async def test_bytes_come_back_under_their_hash_and_twice_is_once(keeper: BlobKeeper) -> None:
    await keeper.put(DIGEST, PHOTO, None)
    await keeper.put(DIGEST, PHOTO, None)

    assert await keeper.read(DIGEST, max_bytes=len(PHOTO)) == PHOTO


async def test_unknown_bytes_are_missing(keeper: BlobKeeper) -> None:
    with pytest.raises(ImageMissing):
        await keeper.read(DIGEST, max_bytes=10)


async def test_bytes_over_the_limit_are_not_given(keeper: BlobKeeper) -> None:
    await keeper.put(DIGEST, PHOTO, None)

    with pytest.raises(ImageUnreadable) as caught:
        await keeper.read(DIGEST, max_bytes=len(PHOTO) - 1)
    assert caught.value.reason == "image_too_large"


@pytest.fixture(params=["memory", "directory", "bucket"])
def outside(request: pytest.FixtureRequest, tmp_path: Path) -> BlobKeeper:
    """Keepers outside of PostgreSQL."""
    if request.param == "directory":
        return DirectoryKeeper(tmp_path)
    return MemoryKeeper() if request.param == "memory" else BucketKeeper(MemoryStore(), "s3")


async def test_discarded_bytes_are_missing_and_discarding_twice_is_harmless(
    outside: BlobKeeper,
) -> None:
    await outside.put(DIGEST, PHOTO, None)

    assert not await outside.discard(DIGEST, timedelta(hours=1)), "young"
    assert await outside.read(DIGEST, max_bytes=len(PHOTO)) == PHOTO
    assert await outside.discard(DIGEST, -timedelta(hours=1))
    assert not await outside.discard(DIGEST, -timedelta(hours=1))
    with pytest.raises(ImageMissing):
        await outside.read(DIGEST, max_bytes=len(PHOTO))


async def test_what_is_kept_is_told_in_order_page_by_page(outside: BlobKeeper) -> None:
    digests = sorted(hashlib.sha256(bytes([number])).digest() for number in range(50))
    for digest in digests:
        await outside.put(digest, b"x", None)

    told, after = list[bytes](), b""
    while page := await outside.kept(after, 7):
        told += page
        after = page[-1]

    assert told == digests


async def test_bytes_in_a_directory_that_are_put_again_are_young_again(tmp_path: Path) -> None:
    keeper = DirectoryKeeper(tmp_path)
    await keeper.put(DIGEST, PHOTO, None)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    os.utime(file, (0, 0))
    await keeper.put(DIGEST, PHOTO, None)

    assert not await keeper.discard(DIGEST, timedelta(days=1))


async def test_the_table_s_bytes_are_left_to_its_pruner(pool: Pool) -> None:
    keeper = PostgresBlobs(pool)
    await keeper.put(DIGEST, PHOTO, None)

    assert await keeper.kept(b"", 10) == ()
    assert not await keeper.discard(DIGEST, -timedelta(hours=1))


async def test_bytes_in_postgresql_are_kept_only_if_the_transaction_commits(pool: Pool) -> None:
    keeper = PostgresBlobs(pool)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what rolls back
        async with pool.transaction() as tx:
            await keeper.put(DIGEST, PHOTO, tx)
            raise ZeroDivisionError
    with pytest.raises(ImageMissing):
        await keeper.read(DIGEST, max_bytes=len(PHOTO))

    async with pool.transaction() as tx:
        await keeper.put(DIGEST, PHOTO, tx)
    assert await keeper.read(DIGEST, max_bytes=len(PHOTO)) == PHOTO


async def test_only_old_bytes_that_no_image_refers_to_are_pruned(pool: Pool) -> None:
    table = PostgresBlobs(pool)
    used, unused, young = (hashlib.sha256(name).digest() for name in (b"1", b"2", b"3"))
    for digest in (used, unused, young):
        await table.put(digest, b"x", None)
    await pool.execute(
        "UPDATE blobs SET created_at = now() - interval '1 day' WHERE sha256 <> $1", young
    )
    await pool.execute(
        "INSERT INTO images (image_id, uri, path, sha256, status)"
        " VALUES (gen_random_uuid(), 'blob:1', '1', $1, 'accepted')",
        used,
    )

    async with pool.transaction() as tx:
        assert (await retention.prune(tx, "blobs", timedelta(hours=1))).rows == 1
    left = await pool.fetch("SELECT sha256 FROM blobs")
    assert {row["sha256"] for row in left} == {used, young}

    await pool.execute("UPDATE images SET status = 'deleted'")
    await table.put(used, b"x", None)  # put again, which resets its age
    async with pool.transaction() as tx:
        assert (await retention.prune(tx, "blobs", timedelta(hours=1))).rows == 0


async def test_a_directory_that_is_gone_is_an_outage_and_no_missing_photo(tmp_path: Path) -> None:
    with pytest.raises(BlobStoreAway):
        await DirectoryKeeper(tmp_path / "unmounted").read(DIGEST, max_bytes=10)


async def test_a_directory_holds_whole_files_only(tmp_path: Path) -> None:
    await DirectoryKeeper(tmp_path).put(DIGEST, PHOTO, None)

    [file] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.relative_to(tmp_path).as_posix() == "{0:.2}/{1:.2}/{0}".format(
        DIGEST.hex(), DIGEST.hex()[2:]
    )


@pytest.mark.parametrize("url", ["", "file:relative", "ftp://x", "s3:bucket", "/srv/blobs"])
def test_a_setting_that_names_no_keeper_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ARCHIVE_BLOBS"):
        keeper_of(url, PostgresBlobs(None))  # type: ignore[arg-type]  # never asked


def test_the_setting_chooses_the_keeper(tmp_path: Path) -> None:
    table = PostgresBlobs(None)  # type: ignore[arg-type]  # never asked
    assert keeper_of("pg:", table) is table
    assert isinstance(keeper_of(f"file:{tmp_path}", table), DirectoryKeeper)
    assert isinstance(keeper_of("s3://bucket/kept", table), BucketKeeper)
