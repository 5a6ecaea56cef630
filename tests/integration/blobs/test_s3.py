"""A bucket on a real S3 server: what is kept there, and what its failures are taken for."""

import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from consumers.upkeep.pruning import Pruner
from core.blobs.keepers import keeper_of
from core.blobs.sources import BucketSource
from core.blobs.store import BlobKeeper, BlobStore, ReadLimits
from core.errors import BlobStoreAway, ImageMissing
from core.settings import DatabaseSettings, RetentionSettings
from core.storage.archive.blobs import PostgresBlobs
from core.storage.pool import Pool, open_pool
from tests.s3 import BUCKET, S3Server, log_in, running_s3

PHOTO = b"\xff\xd8photo" * 50_000
DIGEST = hashlib.sha256(PHOTO).digest()
URL = f"s3://{BUCKET}/kept"
NOBODY: BlobKeeper = PostgresBlobs(None)  # type: ignore[arg-type]  # never asked


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """Start one server for all tests; each uses a prefix or keys of its own."""
    with running_s3() as started:
        yield started


@pytest.fixture
def keeper(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> BlobKeeper:
    """Return the keeper of `ARCHIVE_BLOBS=s3://…`, logged in."""
    log_in(server, monkeypatch)
    return keeper_of(URL, NOBODY)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as opened:
        yield opened


async def test_bytes_come_back_are_listed_and_go(keeper: BlobKeeper) -> None:
    digests = sorted(hashlib.sha256(bytes([number])).digest() for number in range(12))
    for digest in digests:
        await keeper.put(digest, digest * 2, None)
        await keeper.put(digest, digest * 2, None)

    assert [await keeper.read(one, max_bytes=64) for one in digests] == [one * 2 for one in digests]
    assert list(await keeper.kept(b"", 5)) == digests[:5]
    assert list(await keeper.kept(digests[4], 100)) == digests[5:]
    for digest in digests:
        assert not await keeper.discard(digest, timedelta(hours=1)), "young"
        assert await keeper.discard(digest, -timedelta(hours=1))
        assert not await keeper.discard(digest, -timedelta(hours=1))
    assert await keeper.kept(b"", 100) == []
    with pytest.raises(ImageMissing):
        await keeper.read(digests[0], max_bytes=64)


async def test_a_round_of_pruning_leaves_what_an_image_refers_to(
    keeper: BlobKeeper, pool: Pool
) -> None:
    used, unused = (hashlib.sha256(name).digest() for name in (b"used", b"unused"))
    for digest in (used, unused):
        await keeper.put(digest, b"x", None)
    await pool.execute(
        "INSERT INTO images (image_id, uri, path, sha256, status)"
        " VALUES (gen_random_uuid(), 'blob:1', '1', $1, 'accepted')",
        used,
    )
    failed = list[str]()
    pruner = Pruner(pool.transaction, {"kept_blobs": keeper}, RetentionSettings(), failed.append)
    pruner._ages["kept_blobs"] = -timedelta(hours=1)  # these are old enough
    while await pruner.step():
        pass

    assert failed == []
    assert list(await keeper.kept(b"", 10)) == [used]
    assert await keeper.discard(used, -timedelta(hours=1))


async def test_a_records_uri_in_an_allowed_bucket_is_read(
    server: S3Server, keeper: BlobKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keeper.put(DIGEST, PHOTO, None)
    name = DIGEST.hex()
    log_in(server, monkeypatch)
    store = BlobStore(NOBODY, {"s3": BucketSource([URL])}, ReadLimits(2**25, 4))

    (content,) = await store.read_all([f"{URL}/{name[:2]}/{name[2:4]}/{name}"])

    assert content == PHOTO


@pytest.mark.parametrize(
    "wrong", [{"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, {"AWS_SECRET_ACCESS_KEY": "not this one"}]
)
async def test_wrong_credentials_are_an_outage_and_no_missing_photo(
    server: S3Server, keeper: BlobKeeper, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    """A photo that is there would fail for good, with every other one, until a human looks."""
    await keeper.put(DIGEST, PHOTO, None)
    log_in(server, monkeypatch, **wrong)
    locked_out, source = keeper_of(URL, NOBODY), BucketSource([URL])

    with pytest.raises(BlobStoreAway):
        await locked_out.read(DIGEST, max_bytes=len(PHOTO))
    with pytest.raises(BlobStoreAway):
        await locked_out.put(DIGEST, PHOTO, None)
    with pytest.raises(BlobStoreAway):
        await locked_out.kept(b"", 10)
    with pytest.raises(BlobStoreAway):
        await locked_out.discard(DIGEST, -timedelta(hours=1))
    with pytest.raises(BlobStoreAway, match=r"InvalidAccessKeyId|SignatureDoesNotMatch"):
        await source.read(f"{URL}/nothing", max_bytes=10)
    assert await keeper.read(DIGEST, max_bytes=len(PHOTO)) == PHOTO, "nothing was deleted"


async def test_a_bucket_that_is_not_there_is_an_outage_and_no_missing_photo(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(server, monkeypatch)
    url = "s3://misspelt/kept"
    elsewhere, source = keeper_of(url, NOBODY), BucketSource([url])

    with pytest.raises(BlobStoreAway, match="NoSuchBucket"):
        await elsewhere.put(DIGEST, PHOTO, None)
    with pytest.raises(BlobStoreAway, match="NoSuchBucket"):
        await elsewhere.read(DIGEST, max_bytes=10)
    with pytest.raises(BlobStoreAway):
        await elsewhere.kept(b"", 10)
    with pytest.raises(BlobStoreAway, match="NoSuchBucket"):
        await source.read(f"{url}/nothing", max_bytes=10)


@pytest.mark.parametrize(
    "name",
    [
        "NoSuchBucket.jpg",
        "<Code>NoSuchBucket</Code>",
        "Server returned non-2xx status code <Code>InvalidToken</Code>",
        "AuthenticationFailed//InvalidToken",
    ],
)
async def test_an_object_that_is_called_like_an_error_is_a_missing_photo_and_no_outage(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Anybody may announce such an address: as an outage it would be tried again for ever."""
    log_in(server, monkeypatch)

    with pytest.raises(ImageMissing):
        await BucketSource([URL]).read(f"{URL}/{name}", max_bytes=10)


async def test_a_server_that_is_away_is_an_outage_and_all_is_there_afterwards(
    server: S3Server, keeper: BlobKeeper
) -> None:
    await keeper.put(DIGEST, PHOTO, None)
    server.stop()
    try:
        began = time.monotonic()
        with pytest.raises(BlobStoreAway):
            await keeper.read(DIGEST, max_bytes=len(PHOTO))
        with pytest.raises(BlobStoreAway):
            await keeper.put(DIGEST, PHOTO, None)
        assert time.monotonic() - began < 60, "the loop waits by itself"
    finally:
        server.start()

    assert await keeper.read(DIGEST, max_bytes=len(PHOTO)) == PHOTO
