"""The blob store: order, concurrency, single failures and outages."""

import asyncio
import hashlib

import pytest

from core.blobs.store import BlobStore, ReadLimits
from core.errors import BlobStoreAway, ImageMissing
from tests.fakes.blobs import MemoryKeeper

LIMITS = ReadLimits(max_bytes=100, concurrency=2, timeout_s=5)


class CountingSource:
    """A source that returns the URI as bytes, and counts concurrent reads."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.running = 0
        self.most = 0

    async def read(self, uri: str, *, max_bytes: int) -> bytes:
        self.asked.append(uri)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        if "gone" in uri:
            raise ImageMissing(uri)
        if "away" in uri:
            raise BlobStoreAway("unplugged")
        if "stuck" in uri:
            await asyncio.Event().wait()
        return uri.encode()[:max_bytes]


async def test_contents_come_in_order_and_one_failure_costs_one_image() -> None:
    source = CountingSource()
    store = BlobStore(MemoryKeeper(), {"file": source}, LIMITS)

    first, gone, last = await store.read_all(["file:m/1", "file:m/gone", "file:m/2"])

    assert (first, last) == (b"file:m/1", b"file:m/2")
    assert isinstance(gone, ImageMissing)


async def test_a_repeated_uri_is_read_once() -> None:
    source = CountingSource()
    store = BlobStore(MemoryKeeper(), {"file": source}, LIMITS)

    contents = await store.read_all(["file:m/1", "file:m/2", "file:m/1"])

    assert contents == [b"file:m/1", b"file:m/2", b"file:m/1"]
    assert sorted(source.asked) == ["file:m/1", "file:m/2"]


async def test_no_more_reads_run_at_a_time_than_allowed_over_all_batches() -> None:
    source = CountingSource()
    store = BlobStore(MemoryKeeper(), {"file": source}, LIMITS)

    await asyncio.gather(*(store.read_all([f"file:{b}/{i}" for i in range(20)]) for b in range(3)))

    assert source.most == LIMITS.concurrency


async def test_who_reads_apart_waits_for_nobodys_slow_reads() -> None:
    store = BlobStore(MemoryKeeper(), {"file": CountingSource()}, LIMITS)
    reading = asyncio.create_task(store.apart().read_all([f"file:m/stuck{n}" for n in range(20)]))
    await asyncio.sleep(0)

    async with asyncio.timeout(LIMITS.timeout_s / 2):
        assert await store.read_all(["file:m/1"]) == [b"file:m/1"]

    reading.cancel()


async def test_an_outage_is_raised_as_such_whatever_else_was_read() -> None:
    store = BlobStore(MemoryKeeper(), {"file": CountingSource()}, LIMITS)

    with pytest.raises(BlobStoreAway, match="unplugged"):
        await store.read_all(["file:m/1", "file:m/away", "file:m/gone", "file:m/away2"])


async def test_a_place_that_does_not_answer_in_time_is_away() -> None:
    limits = ReadLimits(max_bytes=100, concurrency=2, timeout_s=0.01)
    store = BlobStore(MemoryKeeper(), {"file": CountingSource()}, limits)

    with pytest.raises(BlobStoreAway, match=r"0\.01 s"):
        await store.read_all(["file:m/stuck"])


async def test_a_scheme_without_a_source_is_refused_by_name() -> None:
    store = BlobStore(MemoryKeeper(), {"file": CountingSource()}, LIMITS)

    [refused] = await store.read_all(["ftp://host/a.jpg"])

    assert isinstance(refused, ImageMissing)
    assert refused.reason == "scheme_not_supported"


async def test_kept_bytes_are_found_under_their_hash() -> None:
    store = BlobStore(MemoryKeeper(), {}, LIMITS)

    uri = await store.keep(b"photo")

    assert uri == f"blob:{hashlib.sha256(b'photo').hexdigest()}"
    assert await store.read_all([uri]) == [b"photo"]
    [bad] = await store.read_all(["blob:zz"])
    assert isinstance(bad, ImageMissing)
