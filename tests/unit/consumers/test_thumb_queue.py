"""Thumbnails on their way to their store: nothing that the store does is felt outside."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from consumers.tagging.thumb_queue import MOST_WAITING, ThumbQueue
from core.tags import ThumbSize
from tests.fakes.thumbs import MemoryThumbs

LIMIT_S = 30


@dataclass
class Running:
    """A queue that runs."""

    keeper: MemoryThumbs = field(default_factory=MemoryThumbs)
    counts: Counter[str] = field(default_factory=Counter)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.queue = ThumbQueue(self.keeper, self.count, pause_s=0.01)
        self.task = asyncio.create_task(self.queue.run(self.stop))

    def count(self, outcome: str, number: int) -> None:
        self.counts[outcome] += number

    async def until(self, outcome: str, number: int) -> None:
        async with asyncio.timeout(LIMIT_S):
            while self.counts[outcome] < number:
                await asyncio.sleep(0.005)

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(LIMIT_S):
            await self.task


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def test_what_is_offered_is_kept_under_its_pictures_hash() -> None:
    running = Running()
    for number in range(100):
        running.queue.offer(digest(number), b"jpeg%d" % number)
    await running.until("kept", 100)
    await running.end()
    assert running.keeper.kept[digest(7), ThumbSize.SMALL] == b"jpeg7"
    assert running.keeper.calls < 10  # in batches
    assert running.counts == Counter(kept=100)


async def test_a_store_that_hangs_costs_what_is_beyond_the_queue() -> None:
    running = Running()
    running.keeper.go.clear()
    for number in range(MOST_WAITING + 50):
        running.queue.offer(digest(number), b"jpeg")  # returns at once
    assert running.counts == Counter(dropped=50)
    running.keeper.go.set()
    await running.until("kept", MOST_WAITING)
    await running.end()


async def test_a_store_that_is_away_is_a_count_and_not_an_error() -> None:
    running = Running()
    running.keeper.is_away = True
    running.queue.offer(digest(1), b"jpeg")
    await running.until("not_kept", 1)
    running.keeper.is_away = False
    running.queue.offer(digest(2), b"jpeg")
    await running.until("kept", 1)
    await running.end()
    assert list(running.keeper.kept) == [(digest(2), ThumbSize.SMALL)]


async def test_what_waits_at_the_end_is_kept() -> None:
    running = Running()
    running.queue.offer(digest(1), b"jpeg")
    await running.end()
    assert len(running.keeper.kept) == 1


async def test_the_same_picture_waits_once() -> None:
    running = Running()
    for _ in range(2 * MOST_WAITING):
        running.queue.offer(digest(1), b"jpeg")
    await running.end()
    assert running.counts == Counter(kept=1)
