"""The model's thread: out of memory, and texts that are encoded once."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import GpuOutOfMemory
from core.tags import Label
from core.vision import clip
from core.vision.clip import ClipModel
from tests.fakes.vision import SIDE, HashTowers, unit


@pytest.fixture
async def executor() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, "clip") as one:
        yield one


def model(towers: HashTowers, executor: ThreadPoolExecutor, max_batch: int = 32) -> ClipModel:
    return ClipModel(
        towers,
        executor,
        max_batch=max_batch,
        is_out_of_memory=lambda error: isinstance(error, MemoryError),
    )


def batch(count: int, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def expected(pixels: NDArray[np.uint8], dim: int = 16) -> NDArray[np.float32]:
    return np.stack([unit(picture.tobytes(), dim) for picture in pixels])


async def test_vectors_keep_the_order_of_the_pictures_when_memory_runs_out(
    executor: ThreadPoolExecutor,
) -> None:
    towers = HashTowers(fits=5)
    pixels = batch(30)
    one = model(towers, executor)
    assert np.array_equal(await one.encode(pixels), expected(pixels))
    assert max(towers.tried[-8:]) == 3
    assert not towers.on_cpu


async def test_memory_that_comes_and_goes_never_loses_a_picture(
    executor: ThreadPoolExecutor,
) -> None:
    random = Random(20261121)
    towers = HashTowers()
    one = model(towers, executor)
    for turn in range(60):
        towers.fits = random.choice([1, 2, 5, 13, 32, 100])
        pixels = batch(random.randint(1, 70), seed=turn)
        assert np.array_equal(await one.encode(pixels), expected(pixels))
    assert one.fell_back == 0


async def test_a_device_without_room_for_one_picture_is_left_for_the_cpu(
    executor: ThreadPoolExecutor,
) -> None:
    towers = HashTowers(fits=0)
    pixels = batch(9)
    one = model(towers, executor)
    assert np.array_equal(await one.encode(pixels), expected(pixels))
    assert one.fell_back == 1
    assert towers.tried[-1] == 9, "the CPU is given whole batches again"
    assert towers.released > 0


async def test_no_room_on_the_cpu_either_is_an_outage_and_not_the_picture_s_fault(
    executor: ThreadPoolExecutor,
) -> None:
    towers = HashTowers(fits=0)
    towers.fits_on_cpu = 0
    with pytest.raises(GpuOutOfMemory):
        await model(towers, executor).encode(batch(2))


async def test_no_pictures_give_no_vectors(executor: ThreadPoolExecutor) -> None:
    assert (await model(HashTowers(), executor).encode(batch(0))).shape == (0, 16)
    assert (await model(HashTowers(), executor).text_features([])).shape == (0, 16)


class ThreadTellingTowers(HashTowers):
    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()

    def encode_pixels(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.threads.add(threading.current_thread().name)
        return super().encode_pixels(batch)

    def encode_texts(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        self.threads.add(threading.current_thread().name)
        return super().encode_texts(prompts)


async def test_the_model_runs_on_its_own_thread_alone(executor: ThreadPoolExecutor) -> None:
    towers = ThreadTellingTowers()
    one = model(towers, executor)
    await asyncio.gather(
        *(one.encode(batch(3)) for _ in range(5)), one.text_features([Label("cat")])
    )
    assert towers.threads == {"clip_0"}


async def test_a_label_is_the_normalised_mean_of_its_templates(
    executor: ThreadPoolExecutor,
) -> None:
    label = Label("cat", templates=("a {}", "{} and {}"))
    row = (await model(HashTowers(), executor).text_features([label]))[0]
    mean = (unit(b"a cat", 16) + unit(b"cat and cat", 16)) / 2
    assert row == pytest.approx(mean / np.linalg.norm(mean))


async def test_the_given_templates_serve_labels_without_their_own(
    executor: ThreadPoolExecutor,
) -> None:
    towers = HashTowers()
    labels = [Label("cat"), Label("dog", templates=("dogs",))]
    await model(towers, executor).text_features(labels, ["one {}"])
    assert towers.prompts == ["one cat", "dogs"]


async def test_braces_in_names_and_templates_are_plain_text(executor: ThreadPoolExecutor) -> None:
    towers = HashTowers()
    label = Label("{0.__class__}", templates=("a {} {x} %s",))
    await model(towers, executor).text_features([label])
    assert towers.prompts == ["a {0.__class__} {x} %s"]


async def test_a_label_set_that_changes_by_one_label_encodes_one(
    executor: ThreadPoolExecutor,
) -> None:
    towers = HashTowers()
    one = model(towers, executor)
    first = await one.text_features([Label("cat"), Label("dog"), Label("cat")])
    towers.prompts.clear()
    second = await one.text_features([Label("dog"), Label("car"), Label("cat")])
    assert towers.prompts == [text.replace("{}", "car") for text in clip.DEFAULT_TEMPLATES]
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(second[[2, 0]], first[:2])


async def test_the_same_name_under_other_templates_is_another_vector(
    executor: ThreadPoolExecutor,
) -> None:
    one = model(HashTowers(), executor)
    plain, drawn = await one.text_features([Label("cat"), Label("cat", templates=("drawn {}",))])
    assert not np.array_equal(plain, drawn)


async def test_thousands_of_labels_are_all_encoded_though_fewer_are_remembered(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip, "_MAX_CACHED_TEXTS", 100)
    one = model(HashTowers(), executor)
    labels = [Label(f"label {at}", templates=("{}",)) for at in range(1000)]
    rows = await one.text_features(labels)
    assert all(
        np.allclose(row, unit(label.name.encode(), 16))
        for row, label in zip(rows, labels, strict=True)
    )
    assert len(one._texts) == 100


async def test_pictures_pass_between_the_labels_of_a_large_set(
    executor: ThreadPoolExecutor,
) -> None:
    one = model(HashTowers(), executor)
    labels = [Label(f"label {at}") for at in range(2000)]
    slow = asyncio.create_task(one.text_features(labels))
    await asyncio.sleep(0)
    await one.encode(batch(2))
    assert not slow.done()
    await slow
