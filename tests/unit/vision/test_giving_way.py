"""Work that gives way: the same tags, and nobody waits for more than one of its steps."""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import PermanentError
from core.tags import Label, Postponed, TagRequest
from core.vision.decoding.pool.answers import Decoded
from core.vision.giving_way import SHORT_S, YieldingModel
from core.vision.tagger import ClipTagger, TaggerOptions
from tests.fakes.vision import HashModel, MemoryDecoder

OPTIONS = TaggerOptions(
    scoring="softmax",
    top_k=3,
    batch_max_images=32,
    batch_max_pixels=10**9,
    preprocessing="exact-1",
    templates=("a photo of {}",),
    background=("a photo",),
)
WORKERS = 2


class Steps:
    """A decoder and a model that take their time, one after the other for each place of work."""

    def __init__(self) -> None:
        self.model = HashModel()
        self.identity = self.model.identity
        self.logit_scale = self.model.logit_scale
        self.logit_bias = self.model.logit_bias
        self.small_batch = 8
        self.per_picture_s = SHORT_S / 6
        self.log: list[str] = []
        self._pictures = MemoryDecoder()
        self._workers = asyncio.Semaphore(WORKERS)
        self._thread = asyncio.Lock()

    async def decode(self, data: bytes) -> Decoded | PermanentError | Postponed:
        async with self._workers:
            await asyncio.sleep(0.001)
            self.log.append(f"decoded {data[4:].decode()}")
            return await self._pictures.decode(data)

    async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        async with self._thread:
            await asyncio.sleep(self.per_picture_s * len(batch))
            self.log.append(f"encoded {len(batch)}")
            return await self.model.encode(batch)

    async def text_features(
        self, labels: Sequence[Label], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        return await self.model.text_features(labels, templates)


def picture(name: str) -> bytes:
    return b"\xff\xd8\xff\xe0" + name.encode()


async def taggers(steps: Steps, turn: asyncio.Event) -> tuple[ClipTagger, ClipTagger]:
    async def wait() -> None:
        await turn.wait()

    first = ClipTagger(steps, steps, OPTIONS)
    behind = first.giving_way(wait, WORKERS)
    for one in (first, behind):
        await one.use_labels([Label("cat"), Label("dog")], 1)
    return first, behind


async def test_it_gives_the_same_tags_in_small_calls_of_the_model() -> None:
    steps, turn = Steps(), asyncio.Event()
    turn.set()
    first, behind = await taggers(steps, turn)
    images, requests = [picture(str(number)) for number in range(30)], [TagRequest()] * 30

    assert await behind.tag_all(images, requests) == await first.tag_all(images, requests)
    assert max(steps.model.batches[: len(steps.model.batches) // 2]) <= steps.small_batch


async def test_a_quick_model_takes_as_many_pictures_as_fit_into_a_short_call() -> None:
    now = 0.0

    class Timed(HashModel):
        async def encode(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            nonlocal now
            now += len(batch) * SHORT_S / 20
            return await super().encode(batch)

    async def at_once() -> None:
        pass

    timed = Timed()
    yielding = YieldingModel(timed, at_once, clock=lambda: now)
    pictures = np.zeros((60, 8, 8, 3), np.uint8)

    assert len(await yielding.encode(pictures)) == len(pictures)
    assert timed.batches == [8, 20, 20, 12]


async def test_a_picture_that_comes_meanwhile_waits_for_one_step_of_each_kind() -> None:
    steps, turn = Steps(), asyncio.Event()
    turn.set()
    first, behind = await taggers(steps, turn)
    many = [picture(f"bulk {number}") for number in range(40)]
    working = asyncio.create_task(behind.tag_all(many, [TagRequest()] * 40))
    while not steps.log:
        await asyncio.sleep(0)

    turn.clear()
    before = len(steps.log)
    await first.tag_all([picture("fresh")], [TagRequest()])
    meanwhile = steps.log[before:]
    turn.set()
    await working

    assert meanwhile[-1] == "encoded 1"
    assert sum(step.startswith("decoded bulk") for step in meanwhile) <= WORKERS
    assert meanwhile.count("encoded 8") <= 1


async def test_none_of_its_pictures_stands_before_another_in_the_decoders_line() -> None:
    steps, turn = Steps(), asyncio.Event()
    turn.set()
    _, behind = await taggers(steps, turn)
    many = [picture(f"bulk {number}") for number in range(40)]
    working = asyncio.create_task(behind.tag_all(many, [TagRequest()] * 40))
    while not steps.log:
        await asyncio.sleep(0)

    before = len(steps.log)
    await steps.decode(picture("fresh"))  # though it is still its turn
    meanwhile = steps.log[before:]
    await working

    assert len(meanwhile) <= 2 * WORKERS
