"""Parts of a batch side by side."""

import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from core.vision.lanes import Lanes


class Shares:
    """What each thread was told about its share of the processor."""

    def __init__(self) -> None:
        self.told: dict[int, int] = {}
        self.last = 0

    def __call__(self, threads: int) -> None:
        self.told[threading.get_ident()] = self.last = threads


def pictures(count: int) -> NDArray[np.uint8]:
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)


def number(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    return batch.reshape(len(batch), 1).astype(np.float32)


@pytest.mark.parametrize(
    ("threads", "max_batch", "count"),
    [(2, 32, 2), (16, 32, 4), (16, 512, 16), (1, 32, 1), (2, 8, 1), (4, 1, 1)],
)
def test_there_are_as_many_lanes_as_threads_and_pictures_allow(
    threads: int, max_batch: int, count: int
) -> None:
    assert Lanes(threads, max_batch, Shares()).count == count


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 13, 32])
def test_rows_keep_the_order_of_the_pictures(count: int) -> None:
    lanes = Lanes(4, 32, Shares())

    assert lanes.run(number, pictures(count)).ravel().tolist() == list(range(count))


def test_the_lanes_share_the_threads_and_work_at_the_same_time() -> None:
    shares, meeting = Shares(), threading.Barrier(4)
    used: set[int] = set()

    def work(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        meeting.wait(10)  # breaks unless four are here at once
        used.add(threading.get_ident())
        return number(batch)

    Lanes(9, 32, shares).run(work, pictures(32))

    assert {thread: shares.told[thread] for thread in used} == dict.fromkeys(used, 2)
    assert len(used) == 4


def test_the_calling_thread_has_the_last_word_and_all_threads() -> None:
    shares = Shares()

    Lanes(9, 32, shares)

    assert shares.last == shares.told[threading.get_ident()] == 9
    assert sorted(shares.told.values()) == [2, 2, 2, 2, 9]


def test_fewer_pictures_than_lanes_stay_on_the_calling_thread() -> None:
    used: list[int] = []

    def work(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        used.append(threading.get_ident())
        return number(batch)

    Lanes(4, 32, Shares()).run(work, pictures(3))

    assert used == [threading.get_ident()]


def test_an_error_comes_out_only_when_no_part_is_at_work_any_more() -> None:
    ended: list[int] = []

    def work(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        if batch[0] == 0:
            raise MemoryError
        time.sleep(0.2)
        ended.append(int(batch.flat[0]))
        return number(batch)

    with pytest.raises(MemoryError):
        Lanes(4, 32, Shares()).run(work, pictures(8))

    assert sorted(ended) == [2, 4, 6]
