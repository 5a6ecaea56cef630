"""Parts of a batch side by side."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from core.vision.parallel import SMALLEST_PART, SideBySide

FOUR = 4 * SMALLEST_PART  # pictures: enough for four workers


class Shares:
    """The numbers of threads that were set, by thread."""

    def __init__(self) -> None:
        self.told: dict[int, int] = {}
        self.last = 0

    def __call__(self, threads: int) -> None:
        self.told[threading.get_ident()] = self.last = threads


class Tensor:
    """A stand-in for tensors of a failed pass."""


def pictures(count: int) -> NDArray[np.uint8]:
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)


def number(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    return batch.reshape(len(batch), 1).astype(np.float32)


@pytest.mark.parametrize(
    ("threads", "max_batch", "workers"),
    [
        (2, 32, 2),
        (6, 32, 6),
        (6, 16, 3),
        (7, 16, 1),
        (16, 32, 8),
        (16, 512, 16),
        (1, 32, 1),
        (2, 7, 1),
        (4, 1, 1),
    ],
)
def test_workers_share_all_threads_and_have_pictures_enough(
    threads: int, max_batch: int, workers: int
) -> None:
    shares = Shares()

    assert SideBySide(threads, max_batch, shares).workers == workers
    assert shares.last == shares.told.pop(threading.get_ident()) == threads
    assert sum(shares.told.values()) == threads
    assert len(shares.told) == workers


@pytest.mark.parametrize("count", [1, 3, FOUR - 1, FOUR, FOUR + 1, 63, 64])
def test_rows_keep_the_order_of_the_pictures(count: int) -> None:
    four = SideBySide(4, FOUR, Shares())

    assert four.run(number, pictures(count)).ravel().tolist() == list(range(count))


def test_parts_are_at_work_at_the_same_time() -> None:
    meeting = threading.Barrier(4)

    def work(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        meeting.wait(10)  # raises unless four arrive at once
        return number(batch)

    assert len(SideBySide(4, FOUR, Shares()).run(work, pictures(FOUR))) == FOUR


def test_too_few_pictures_stay_together_on_the_calling_thread() -> None:
    used: list[int] = []

    def work(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        used.append(threading.get_ident())
        return number(batch)

    SideBySide(4, FOUR, Shares()).run(work, pictures(FOUR - 1))

    assert used == [threading.get_ident()]


def test_an_error_comes_out_only_when_no_part_is_at_work_any_more() -> None:
    failed, go_on = threading.Event(), threading.Event()

    def work(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        if batch[0] == 0:
            failed.set()
            raise MemoryError
        assert go_on.wait(10)
        return number(batch)

    with ThreadPoolExecutor(1) as outside:
        run = outside.submit(SideBySide(4, FOUR, Shares()).run, work, pictures(FOUR))
        assert failed.wait(10)
        assert not run.done()
        go_on.set()
        with pytest.raises(MemoryError):
            run.result(10)


def test_what_a_failed_part_held_is_free_once_its_error_is_dropped() -> None:
    held: list[weakref.ref[Tensor]] = []

    def work(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        raise MemoryError

    def attempt() -> None:
        try:
            SideBySide(4, FOUR, Shares()).run(work, pictures(FOUR))
        except MemoryError:
            return

    gc.collect()
    gc.disable()
    try:
        attempt()
        assert [one() for one in held] == [None] * 4
    finally:
        gc.enable()


def test_a_worker_that_cannot_be_set_up_says_so() -> None:
    def refuse(threads: int) -> None:
        raise RuntimeError(f"no {threads} threads")

    with pytest.raises(RuntimeError, match="no 1 threads"):
        SideBySide(4, FOUR, refuse)
