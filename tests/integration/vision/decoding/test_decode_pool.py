"""The pool of decoder processes, with real processes and real signals."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from core.errors import ConfigurationError, ImageUnreadable, PermanentError, TransientError
from core.settings import MIB, DecodeSettings
from core.tags import Postponed, Slowness, ThumbSize
from core.vision.decoding import sniff
from core.vision.decoding.decoder import DecodePool, pool_limits
from core.vision.decoding.pool.answers import Decoded, OutgoingCopy
from core.vision.decoding.worker_process import PoolLimits
from core.vision.decoding.worker_protocol import PixelFormat
from tests.fakes import pictures
from tests.integration.vision.decoding import hostile

ROOT = Path(__file__).parents[4]
SMALL = PixelFormat(32, 32)


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[DecodePool]:
    """Start two workers with a short time limit and the hostile operations."""
    limits = PoolLimits(workers=2, timeout_s=2.0, memory_bytes=512 * MIB)
    async with DecodePool(limits, SMALL, operations=hostile.operations) as opened:
        yield opened


def running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def eventually(gone: list[int], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while any(running(pid) for pid in gone):
        assert time.monotonic() < deadline, f"still running: {gone}"
        await asyncio.sleep(0.01)


async def reason(pool: DecodePool, data: bytes) -> str:
    result = await pool.decode(data)
    assert isinstance(result, ImageUnreadable), result
    return result.reason


async def decodes(pool: DecodePool) -> None:
    result = await pool.decode(pictures.jpeg(1))
    assert isinstance(result, Decoded)
    assert result.width == 320


async def test_a_picture_comes_back_as_pixels_with_all_that_is_known(pool: DecodePool) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Leica", "M3"
    data = pictures.jpeg(1, exif=exif.tobytes())
    result = await pool.decode(data)
    assert isinstance(result, Decoded)
    assert result.camera == "Leica M3"
    assert result.pixels.shape == (32, 32, 3)
    assert result.pixels.dtype == np.uint8
    assert result.sha256 == hashlib.sha256(data).digest()
    assert (result.media_type, result.width, result.height) == (sniff.JPEG, 320, 240)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGBUS])
async def test_a_picture_that_kills_its_decoder_costs_itself_alone(
    pool: DecodePool, number: signal.Signals
) -> None:
    good = [pictures.jpeg(seed) for seed in range(6)]
    results = await asyncio.gather(
        *(pool.decode(data) for data in [*good[:3], b"signal %d" % number, *good[3:]])
    )
    killer = results.pop(3)
    assert isinstance(killer, ImageUnreadable)
    assert killer.reason == "decoder_crashed"
    assert number.name in str(killer)
    assert all(isinstance(each, Decoded) for each in results)


async def test_a_worker_that_ends_quietly_is_a_crash_too(pool: DecodePool) -> None:
    assert await reason(pool, b"exit 0") == "decoder_crashed"
    await decodes(pool)


async def test_a_picture_met_by_a_crash_that_was_not_its_own_is_tried_once_more(
    pool: DecodePool,
) -> None:
    await decodes(pool)
    # the order is no picture, so the second worker reports that instead of dying
    assert await reason(pool, b"signal-unless-fresh") == "not_an_image"


async def test_workers_killed_while_idle_cost_nothing(pool: DecodePool) -> None:
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    await eventually(list(pool.pids))
    await asyncio.gather(*(decodes(pool) for _ in range(4)))


async def test_a_worker_killed_from_outside_in_the_middle_of_a_picture_costs_nothing() -> None:
    limits = PoolLimits(workers=1, timeout_s=30.0)
    async with DecodePool(limits, SMALL) as pool:
        task = asyncio.create_task(pool.decode(pictures.endless_jpeg(scans=2400, side=4000)))
        await busy(pool.pids[0])
        os.kill(pool.pids[0], signal.SIGKILL)
        assert isinstance(await task, Decoded)
        assert pool.replaced == 1


async def busy(pid: int, share_s: float = 0.1) -> None:
    """Wait until a process uses CPU time."""
    first = cpu_s(pid)
    deadline = time.monotonic() + 10
    while cpu_s(pid) < first + share_s:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_real_picture_that_decodes_for_ever_is_ended_by_the_time_limit() -> None:
    limits = PoolLimits(workers=1, timeout_s=1.0)
    async with DecodePool(limits, SMALL) as pool:
        before = pool.pids
        assert await reason(pool, pictures.endless_jpeg(24_000, 4000)) == "decoder_timeout"
        await decodes(pool)
        assert not set(before) & set(pool.pids)
        await eventually(list(before))


@pytest.mark.parametrize("order", [b"sleep 60", b"spin"])
async def test_sleeping_and_spinning_decoders_are_ended_by_the_time_limit(
    pool: DecodePool, order: bytes
) -> None:
    assert await reason(pool, order) == "decoder_timeout"
    await decodes(pool)


async def test_a_real_picture_that_needs_too_much_memory_is_told_apart() -> None:
    limits = PoolLimits(workers=1, memory_bytes=256 * MIB)
    async with DecodePool(limits, SMALL) as pool:
        assert await reason(pool, pictures.flat_png(9000, 9000)) == "decoder_memory"
        await decodes(pool)


async def test_a_decoder_that_allocates_without_end_meets_its_limit(pool: DecodePool) -> None:
    assert await reason(pool, b"allocate %d" % (600 * MIB)) == "decoder_memory"
    await decodes(pool)


@pytest.mark.parametrize("order", [b"nonsense", b"too-long"])
async def test_a_worker_that_was_taken_over_cannot_hurt_its_parent(
    pool: DecodePool, order: bytes
) -> None:
    assert await reason(pool, order) == "decoder_crashed"
    await decodes(pool)


async def test_an_unexpected_exception_of_a_plugin_is_a_corrupt_picture(pool: DecodePool) -> None:
    assert await reason(pool, b"raise") == "corrupt"


async def test_too_many_bytes_are_refused_unread() -> None:
    async with DecodePool(PoolLimits(workers=1, max_image_bytes=1000), SMALL) as pool:
        assert await reason(pool, bytes(1001)) == "too_many_bytes"


async def test_large_files_pass_through_the_socket_whole(pool: DecodePool) -> None:
    data = pictures.encoded(pictures.photo(1, (3000, 2000)), "BMP")
    result = await pool.decode(data)
    assert isinstance(result, Decoded)
    assert result.sha256 == hashlib.sha256(data).digest()


async def test_fifty_callers_at_once_each_get_their_own_picture(pool: DecodePool) -> None:
    data = [pictures.jpeg(seed, (64 + seed, 64)) for seed in range(50)]
    results = await asyncio.gather(*(pool.decode(each) for each in data))
    for seed, (each, result) in enumerate(zip(data, results, strict=True)):
        assert isinstance(result, Decoded)
        assert result.sha256 == hashlib.sha256(each).digest()
        assert result.width == 64 + seed


async def test_a_cancelled_caller_leaves_a_pool_that_works(pool: DecodePool) -> None:
    tasks = [asyncio.create_task(pool.decode(b"sleep 60")) for _ in range(4)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    await decodes(pool)


async def test_what_exceeds_its_share_is_postponed_and_decoded_apart_with_the_whole_limit() -> None:
    many_scans = pictures.endless_jpeg(scans=2600, side=4000)
    limits = PoolLimits(workers=1, timeout_s=3.0)
    async with DecodePool(limits, SMALL, operations=hostile.operations) as pool:
        before = pool.pids
        assert await pool.decode_soon(many_scans) == Postponed(Slowness.PICTURE)
        assert pool.pids == before  # known by its bytes: no decoder was asked
        assert await pool.decode_soon(b"spin") == Postponed(Slowness.PICTURE)
        assert pool.replaced == 1
        assert isinstance(await pool.decode_soon(pictures.jpeg(1)), Decoded)

        slow = asyncio.create_task(pool.decode_apart(pictures.endless_jpeg(24_000, 4000)))
        for seed in range(5):
            assert isinstance(await pool.decode_soon(pictures.jpeg(seed)), Decoded)
        result = await slow
        assert isinstance(result, ImageUnreadable)
        assert result.reason == "decoder_timeout"
        assert isinstance(await pool.decode_apart(pictures.endless_jpeg(400, 4000)), Decoded)


async def test_a_picture_whose_header_is_too_modest_gets_more_memory_when_it_is_alone() -> None:
    limits = PoolLimits(workers=1, memory_bytes=1500 * MIB)
    order = b"allocate %d" % (700 * MIB)  # no header at all
    async with DecodePool(limits, SMALL, operations=hostile.operations) as pool:
        assert await pool.decode_soon(order) == Postponed(Slowness.MEMORY)
        # the answer is no picture, but it was there: the memory sufficed
        assert (await refused(pool.decode_apart(order))).reason == "decoder_crashed"
        too_much = b"allocate %d" % (1600 * MIB)
        assert (await refused(pool.decode_apart(too_much))).reason == "decoder_memory"
        assert (await refused(pool.decode(too_much))).reason == "decoder_memory"


async def refused(answer: Awaitable[Decoded | PermanentError]) -> ImageUnreadable:
    result = await answer
    assert isinstance(result, ImageUnreadable), result
    return result


async def test_a_pool_that_closes_ends_what_is_decoded_apart() -> None:
    async with DecodePool(PoolLimits(workers=1), SMALL, operations=hostile.operations) as pool:
        slow = asyncio.create_task(pool.decode_apart(b"spin"))
        children = await started(beside=pool.pids)
    with pytest.raises(TransientError):
        await slow
    await eventually(children)


async def started(beside: tuple[int, ...], limit_s: float = 20.0) -> list[int]:
    """Wait for a child process of ours that is none of these."""
    deadline = time.monotonic() + limit_s
    while True:
        assert time.monotonic() < deadline
        others = {child.pid for child in psutil.Process().children()} - set(beside)
        if new := [pid for pid in others if running(pid) and cpu_s(pid) > 0.2]:
            return new
        await asyncio.sleep(0.05)


async def test_copies_and_thumbnails_are_made_by_the_same_workers(pool: DecodePool) -> None:
    data = pictures.jpeg(1, comment=b"secret")
    copy = await pool.outgoing_copy(data)
    assert isinstance(copy, OutgoingCopy)
    assert copy.media_type == sniff.JPEG
    assert b"secret" not in copy.data
    small = await pool.thumb_soon(data, ThumbSize.SMALL)
    assert isinstance(small, OutgoingCopy)
    seen = sniff.probe(small.data, sniff.Limits())
    assert (seen.media_type, seen.height) == (sniff.JPEG, 240)
    assert isinstance(await pool.thumb_soon(b"junk", ThumbSize.SMALL), ImageUnreadable)


async def test_leaving_the_block_leaves_no_process_and_no_descriptor() -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    async with DecodePool(PoolLimits(workers=3, timeout_s=0.5), SMALL) as pool:
        seen = set(pool.pids)
        await pool.decode(pictures.endless_jpeg(24_000, 4000))
        seen |= set(pool.pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in seen)  # no zombies either
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    with pytest.raises(TransientError):
        await pool.decode(pictures.jpeg(1))


async def test_workers_that_cannot_start_are_a_clear_message_at_start() -> None:
    limits = PoolLimits(workers=2)
    with pytest.raises(ConfigurationError, match="no decoder library here"):
        async with DecodePool(limits, SMALL, operations=hostile.unable):
            pass


async def test_workers_load_neither_torch_nor_numpy(pool: DecodePool) -> None:
    copy = await pool.outgoing_copy(b"modules")
    assert isinstance(copy, OutgoingCopy)
    loaded = copy.data.decode().split()
    assert "PIL.Image" in loaded
    assert not {"torch", "numpy"} & set(loaded)


PARENT = """
import asyncio, json, sys
from core.vision.decoding.worker_process import PoolLimits
from core.vision.decoding.decoder import DecodePool
from tests.fakes import pictures

async def main():
    async with DecodePool(PoolLimits(workers=2, timeout_s=600)) as pool:
        decoding = asyncio.create_task(pool.decode(pictures.endless_jpeg(24_000, 4000)))
        await asyncio.sleep(0.3)
        print(json.dumps(pool.pids), flush=True)
        await decoding

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_workers_die_with_their_parent_even_in_the_middle_of_a_picture(
    number: signal.Signals,
) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - starting takes a millisecond
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = json.loads(await asyncio.to_thread(parent.stdout.readline))
        assert all(running(pid) for pid in pids)
        parent.send_signal(number)
    await eventually(pids)


def test_limits_come_from_the_settings() -> None:
    settings = DecodeSettings(workers=3, timeout_s=7, memory_bytes=300 * MIB, max_pixels=99)
    limits = pool_limits(settings, 12345)
    assert (limits.workers, limits.timeout_s) == (3, 7)
    assert (limits.memory_bytes, limits.max_image_bytes) == (300 * MIB, 12345)
    assert limits.picture == sniff.Limits(max_pixels=99)
    assert 1 <= pool_limits(DecodeSettings(workers=0), 1).workers <= 8
