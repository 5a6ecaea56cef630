"""Slow pictures among ordinary ones, in virtual time: the pool and the batches for the model."""

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from core.errors import ImageUnreadable, TransientError
from core.settings import MIB
from core.tags import Postponed, Slowness
from core.vision.decoding.decoder import DecodePool
from core.vision.decoding.pool.answers import Decoded
from core.vision.decoding.worker_process import DecoderProcess, PoolLimits
from core.vision.decoding.worker_protocol import PixelFormat
from core.vision.prefetch import decoded_batches
from tests.fakes.decoder_processes import FakeProcesses, order
from tests.fakes.vision import SIDE
from tests.simulation.clock import virtual

LIMITS = PoolLimits(workers=4, timeout_s=30.0, memory_bytes=2048 * MIB)
ORDINARY = LIMITS.ordinary_bytes
PHOTO_S = 0.05
ENDLESS_S = 60.0


@asynccontextmanager
async def opened(processes: FakeProcesses) -> AsyncIterator[DecodePool]:
    async with DecodePool(LIMITS, PixelFormat(SIDE, SIDE), start=processes.start) as pool:
        yield pool


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_a_batch_of_photos_among_slow_ones_waits_for_none_of_them() -> None:
    photos = [order(number, PHOTO_S) for number in range(32)]
    slow = [order(number, ENDLESS_S) for number in range(100, 132)]
    mixed = [one for pair in zip(slow, photos, strict=True) for one in pair]
    async with opened(FakeProcesses()) as pool:
        began = now()
        done = [
            outcome
            async for batch in decoded_batches(
                pool.decode_soon, list(enumerate(mixed)), max_images=32, max_pixels=10**9
            )
            for outcome in batch
        ]

        # Before, each took the whole time limit: 32 x 30 s in four workers are 240 s.
        assert now() - began < 8
    results = dict(done)
    assert [isinstance(results[at], Decoded) for at in range(64)] == [False, True] * 32
    assert {results[at] for at in range(0, 64, 2)} == {Postponed(Slowness.PICTURE)}


@virtual
async def test_slow_pictures_take_half_of_the_decoders_and_none_of_the_workers() -> None:
    processes = FakeProcesses()
    async with opened(processes) as pool:
        slow = [asyncio.create_task(pool.decode_apart(order(number, 20.0))) for number in range(8)]
        await asyncio.sleep(1)
        assert processes.running == {ORDINARY: 2}

        began = now()
        photos = [pool.decode_soon(order(number, PHOTO_S)) for number in range(10, 18)]
        results = await asyncio.gather(*photos)

        assert now() - began < 4 * PHOTO_S
        assert all(isinstance(one, Decoded) for one in [*results, *await asyncio.gather(*slow)])
    assert processes.most[ORDINARY] == 2 + LIMITS.workers


@virtual
async def test_a_picture_that_is_slow_even_alone_fails_by_the_whole_time_limit() -> None:
    async with opened(FakeProcesses()) as pool:
        began = now()
        result = await pool.decode_apart(order(1, ENDLESS_S))

        assert isinstance(result, ImageUnreadable)
        assert result.reason == "decoder_timeout"
        assert 30 <= now() - began < 31


@virtual
async def test_large_pictures_wait_for_one_place_while_the_others_go_on() -> None:
    processes = FakeProcesses()
    large = [order(number, 5.0, 1024 * MIB) for number in range(3)]
    async with opened(processes) as pool:
        assert {await pool.decode_soon(one) for one in large} == {Postponed(Slowness.MEMORY)}

        began = now()
        waiting = asyncio.gather(*(pool.decode_apart(one) for one in large))
        await asyncio.sleep(6)
        assert isinstance(await pool.decode_soon(order(9, PHOTO_S)), Decoded)
        assert now() - began < 6.2
        assert all(isinstance(one, Decoded) for one in await waiting)
    assert processes.most[LIMITS.memory_bytes] == 1


@virtual
async def test_a_picture_is_refused_for_its_memory_only_if_it_fails_alone() -> None:
    processes = FakeProcesses()
    async with opened(processes) as pool:
        result = await pool.decode(order(1, 0.1, 4096 * MIB))

        assert isinstance(result, ImageUnreadable)
        assert result.reason == "decoder_memory"
        assert isinstance(await pool.decode(order(2, 0.1, 1024 * MIB)), Decoded)
    assert processes.most[LIMITS.memory_bytes] == 1


@virtual
async def test_a_slow_picture_that_kills_its_decoder_is_tried_twice_and_fails_alone() -> None:
    processes = FakeProcesses()
    async with opened(processes) as pool:
        before = processes.started
        result = await pool.decode_apart(order(1, 5.0, dies=True))

        assert isinstance(result, ImageUnreadable)
        assert result.reason == "decoder_crashed"
        assert processes.started == before + 2


@virtual
async def test_a_system_that_gives_no_process_for_a_while_is_an_outage_and_costs_no_worker() -> (
    None
):
    processes = FakeProcesses()
    async with opened(processes) as pool:
        processes.refused = 1
        with pytest.raises(TransientError, match="does not start"):
            await pool.decode_apart(order(1, PHOTO_S))

        processes.refused = 100
        dying = [order(number, PHOTO_S, dies=True) for number in range(4)]
        results = await asyncio.gather(*map(pool.decode_soon, dying), return_exceptions=True)
        assert all(isinstance(one, TransientError | ImageUnreadable) for one in results)
        with pytest.raises(TransientError, match="does not start"):
            await pool.decode_soon(order(5, PHOTO_S))

        processes.refused = 0
        photos = [order(number, PHOTO_S) for number in range(10, 18)]
        results = await asyncio.gather(*map(pool.decode_soon, photos))
        assert all(isinstance(one, Decoded) for one in results)
        assert len(pool.pids) == LIMITS.workers


async def test_a_process_that_the_kernel_is_slow_to_end_ends_nobody_else() -> None:
    class Lingering:
        def kill(self) -> None:
            pass

        def wait(self, timeout: float) -> int:
            raise subprocess.TimeoutExpired("decoder", timeout)

    process = DecoderProcess.__new__(DecoderProcess)
    process._process = cast("subprocess.Popen[bytes]", Lingering())
    process._socket = socket.socket()
    assert await process.end() == -signal.SIGKILL
