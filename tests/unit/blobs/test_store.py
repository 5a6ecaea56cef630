"""The blob store: order, concurrency, single failures and outages."""

import asyncio
import hashlib

import pytest

from core.blobs.store import BlobStore, ReadLimits, in_turns
from core.errors import BlobStoreAway, ImageMissing
from core.tags import Postponed, Slowness
from tests.fakes.blobs import MemoryKeeper
from tests.simulation.clock import virtual

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


class Web:
    """Hosts in virtual time: those named `drips` never come to an end."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def read(self, uri: str, *, max_bytes: int) -> bytes:
        self.asked.append(uri)
        await asyncio.sleep(3600 if "drips" in uri else 0.1)
        return uri.encode()[:max_bytes]


def web_store() -> BlobStore:
    web = Web()
    limits = ReadLimits(max_bytes=100, concurrency=4, timeout_s=60)
    return BlobStore(MemoryKeeper(), {"https": web, "file": web}, limits)


@virtual
async def test_a_source_that_drips_holds_no_batch_and_costs_no_other_host_its_bytes() -> None:
    loop = asyncio.get_running_loop()
    slow = [f"https://drips.example/{number}" for number in range(40)]
    good = [f"https://good.example/{number}" for number in range(8)]

    contents = await web_store().read_soon([*slow, *good])

    assert loop.time() <= 6.1  # each has 60 s otherwise, four at a time
    assert contents[:40] == [Postponed(Slowness.SOURCE)] * 40
    assert contents[40:] == [uri.encode() for uri in good]


@virtual
async def test_a_place_of_the_operators_own_is_waited_for() -> None:
    """A slow disk is an outage, and nobody's in particular."""
    store = BlobStore(MemoryKeeper(), {"file": Web()}, ReadLimits(max_bytes=100, timeout_s=30))

    with pytest.raises(BlobStoreAway, match="30 s"):
        await store.read_soon(["file:m/drips"])


@virtual
async def test_who_is_in_no_hurry_waits_for_a_slow_source() -> None:
    with pytest.raises(BlobStoreAway, match="60 s"):
        await web_store().read_all(["https://drips.example/1"])


def test_hosts_take_turns() -> None:
    uris = ["https://a/1", "https://a/2", "https://a/1", "https://b/1", "file:m/1", "https://a/3"]

    assert in_turns(uris) == [
        "https://a/1", "https://b/1", "file:m/1", "https://a/2", "https://a/3",
    ]  # fmt: skip
