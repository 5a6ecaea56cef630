"""Batch sizes when memory runs out."""

from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from core.vision.batch_size import BatchCeiling, NoRoom, encode_in_parts


class Device:
    """A device that takes at most `room` pictures at a time and returns their numbers."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []
        self.released = 0

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.tried.append(len(batch))
        if len(batch) > self.room:
            raise MemoryError
        return batch.astype(np.float32)

    def release(self) -> None:
        self.released += 1


def numbered(count: int) -> NDArray[np.uint8]:
    return np.arange(count, dtype=np.uint8).reshape(count, 1)


def encode(device: Device, count: int, ceiling: BatchCeiling) -> NDArray[np.float32]:
    return encode_in_parts(
        numbered(count), device.run, ceiling, lambda it: isinstance(it, MemoryError), device.release
    )


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_keeps_its_order() -> None:
    device = Device(room=5)
    halvings: list[int] = []
    rows = encode(device, 32, BatchCeiling(32, halved=lambda: halvings.append(1)))
    assert rows[:, 0].tolist() == list(range(32))
    assert device.tried == [32, 16, 8, 4, 4, 4, 4, 4, 4, 4, 4]
    assert len(halvings) == 3


def test_memory_is_given_back_before_each_smaller_try() -> None:
    device = Device(room=4)
    encode(device, 16, BatchCeiling(16))
    assert device.released == 2


def test_the_next_batch_begins_at_the_size_that_fitted() -> None:
    device = Device(room=4)
    ceiling = BatchCeiling(16)
    encode(device, 16, ceiling)
    device.tried.clear()
    encode(device, 8, ceiling)
    assert device.tried == [4, 4]


def test_the_ceiling_grows_back_when_there_is_room_again() -> None:
    device = Device(room=4)
    ceiling = BatchCeiling(16, patience=3)
    encode(device, 16, ceiling)
    device.room = 1000
    for _ in range(10):
        encode(device, 16, ceiling)
    assert ceiling.size == 16


def test_growing_into_too_little_room_costs_one_failed_try_and_no_picture() -> None:
    device = Device(room=4)
    ceiling = BatchCeiling(8, patience=2)
    rows = encode(device, 64, ceiling)
    assert rows[:, 0].tolist() == list(range(64))
    assert ceiling.size in {4, 8}
    assert device.tried.count(8) < len(device.tried) / 2


def test_no_room_for_one_picture_is_told_apart() -> None:
    with pytest.raises(NoRoom):
        encode(Device(room=0), 4, BatchCeiling(4))


def test_other_errors_pass_through_at_once() -> None:
    def broken(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        encode_in_parts(numbered(4), broken, BatchCeiling(4), lambda _: False, lambda: None)


def test_small_batches_do_not_prove_room_for_large_ones() -> None:
    ceiling = BatchCeiling(16, patience=2)
    ceiling.failed(16)
    for _ in range(10):
        ceiling.succeeded(1)
    assert ceiling.size == 8


def test_any_room_and_any_batch_give_every_row_once() -> None:
    random = Random(7)
    for _ in range(200):
        device = Device(room=random.randint(1, 40))
        count = random.randint(1, 100)
        rows = encode(device, count, BatchCeiling(random.randint(1, 64), patience=2))
        assert rows[:, 0].tolist() == list(range(count))
