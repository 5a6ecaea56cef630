"""Decoding ahead of the model."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import numpy as np
import pytest

from core.errors import ImageUnreadable, PermanentError, TransientError
from core.vision.decoding.pool.answers import Decoded
from core.vision.prefetch import Outcome, decoded_batches


def decoded(data: bytes, pixels: int = 100) -> Decoded:
    return Decoded(np.zeros((1, 1, 3), np.uint8), "image/png", pixels, 1, data, None)


class Gate:
    """A decoder whose pictures are ready when the test says so."""

    def __init__(self, *, opened: bool = False, pixels: int = 100) -> None:
        self.started: list[bytes] = []
        self.pixels = pixels
        self._opened = opened
        self._doors: dict[bytes, asyncio.Event] = {}

    async def decode(self, data: bytes) -> Decoded | PermanentError:
        self.started.append(data)
        if not self._opened:
            await self._door(data).wait()
        if data == b"bad":
            return ImageUnreadable("bad")
        return decoded(data, self.pixels)

    def open(self, *names: bytes) -> None:
        for name in names:
            self._door(name).set()

    def _door(self, name: bytes) -> asyncio.Event:
        return self._doors.setdefault(name, asyncio.Event())


def numbered(count: int) -> list[tuple[int, bytes]]:
    return [(at, b"%d" % at) for at in range(count)]


async def all_batches(
    gate: Gate, images: Sequence[tuple[int, bytes]], max_images: int = 8, max_pixels: int = 10**9
) -> list[list[Outcome]]:
    batches = decoded_batches(gate.decode, images, max_images=max_images, max_pixels=max_pixels)
    return [batch async for batch in batches]


async def test_every_image_comes_once_and_no_batch_is_larger_than_allowed() -> None:
    batches = await all_batches(Gate(opened=True), numbered(53), max_images=5)
    assert sorted(at for batch in batches for at, _ in batch) == list(range(53))
    assert max(map(len, batches)) == 5


async def test_pixels_of_the_sources_limit_a_batch_but_one_image_always_goes() -> None:
    batches = await all_batches(Gate(opened=True, pixels=100), numbered(6), max_pixels=250)
    assert [len(batch) for batch in batches] == [2, 2, 2]
    batches = await all_batches(Gate(opened=True, pixels=100), numbered(3), max_pixels=1)
    assert [len(batch) for batch in batches] == [1, 1, 1]


async def test_an_unreadable_image_comes_as_its_error() -> None:
    images = [(0, b"a"), (1, b"bad"), (2, b"c")]
    [batch] = await all_batches(Gate(opened=True), images)
    outcomes = dict(batch)
    assert isinstance(outcomes[1], ImageUnreadable)
    assert isinstance(outcomes[0], Decoded)


async def test_no_images_give_no_batch() -> None:
    assert await all_batches(Gate(), []) == []


async def test_the_next_batch_is_decoded_while_the_caller_works_on_this_one() -> None:
    gate = Gate()
    gate.open(*(b"%d" % at for at in range(4)))
    batches = decoded_batches(gate.decode, numbered(20), max_images=4, max_pixels=10**9)
    async with aclosing(batches):
        first = await anext(batches)
        assert {at for at, _ in first} == {0, 1, 2, 3}
        assert len(gate.started) == 8  # two batches ahead and no more


async def test_eight_are_waited_for_while_as_many_are_sure_to_come() -> None:
    gate = Gate()
    batches = decoded_batches(gate.decode, numbered(9), max_images=32, max_pixels=10**9)
    async with aclosing(batches):
        waiting = asyncio.ensure_future(anext(batches))
        gate.open(*(b"%d" % at for at in range(7)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        gate.open(b"8")
        assert {at for at, _ in await waiting} == {0, 1, 2, 3, 4, 5, 6, 8}
        gate.open(b"7")
        assert [at for at, _ in await anext(batches)] == [7]


async def test_an_outage_is_raised_as_itself_and_leaves_no_task() -> None:
    async def outage(data: bytes) -> Decoded | PermanentError:
        if data == b"3":
            raise TransientError("no decoder can be started")
        await asyncio.sleep(60)
        return decoded(data)

    before = asyncio.all_tasks()
    with pytest.raises(TransientError):
        async with aclosing(
            decoded_batches(outage, numbered(10), max_images=8, max_pixels=10**9)
        ) as batches:
            await anext(batches)
    assert asyncio.all_tasks() == before


async def test_a_caller_that_gives_up_cancels_what_is_decoding() -> None:
    gate = Gate()
    gate.open(b"0", b"1", b"2", b"3")
    before = asyncio.all_tasks()
    async with aclosing(
        decoded_batches(gate.decode, numbered(30), max_images=4, max_pixels=10**9)
    ) as batches:
        await anext(batches)
    assert asyncio.all_tasks() == before
