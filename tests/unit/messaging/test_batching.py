"""Batches: greedy, capped, never empty while something is there, nothing lost or reordered."""

from collections.abc import Iterable
from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.messaging.batching import BatchPolicy, PartitionBatch, PartitionBatchQueue, size_of
from core.messaging.ports import Fetched
from schemas.record import Partition, Record

P0, P1 = Partition("t", 0), Partition("t", 1)
#: The least that a record counts.
UNIT = size_of([(0, 0, Record("t", None, (), b""))])


def record(offset: int, size: int = 1) -> Fetched:
    return (offset, 0, Record("t", None, (), bytes((size - 1) * UNIT)))


def stretch(*records: Fetched, partition: Partition = P0, epoch: int = 1) -> PartitionBatch:
    start, end = records[0][0], records[-1][0] + 1
    return PartitionBatch(partition, epoch, start, end, records, size_of(records))


def passage(start: int, end: int) -> PartitionBatch:
    return PartitionBatch(P0, 1, start, end, (), 0)


def queue_of(*stretches: PartitionBatch) -> PartitionBatchQueue:
    queue = PartitionBatchQueue(max_records=10, max_bytes=100 * UNIT)
    for one in stretches:
        queue.put(one)
    return queue


def records_in(batch: Iterable[PartitionBatch]) -> list[Fetched]:
    return [record for one in batch for record in one.records]


@given(
    fetches=st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=12), max_size=8),
    max_records=st.integers(1, 20),
    max_bytes=st.integers(1, 120),
)
def test_batches_keep_the_caps_and_lose_nothing(
    fetches: list[list[int]], max_records: int, max_bytes: int
) -> None:
    offsets = iter(range(1000))
    fetched = [[record(next(offsets), size) for size in sizes] for sizes in fetches]
    queue = queue_of(*(stretch(*records) for records in fetched))
    policy = BatchPolicy(max_records, max_bytes * UNIT)

    batches = []
    while batch := queue.take(policy, {P0: 1}):
        batches.append(batch)

    assert [one for batch in batches for one in records_in(batch)] == list(chain(*fetched))
    assert len(queue) == 0
    assert queue.is_half_empty
    for batch, later in pairwise([*batches, []]):
        count, size = len(records_in(batch)), sum(one.size for one in batch)
        assert size == size_of(records_in(batch))
        assert count <= max_records
        assert size <= policy.max_bytes or count == 1
        if later:
            is_full = count == max_records
            one_more = [*records_in(batch), records_in(later)[0]]
            assert is_full or size_of(one_more) > policy.max_bytes, "could have been fuller"


def test_what_another_epoch_brought_is_thrown_away() -> None:
    queue = queue_of(
        stretch(record(0), epoch=1),
        stretch(record(0), epoch=2),
        stretch(record(0), partition=P1),
        stretch(record(1), epoch=2),
    )

    assert queue.take(BatchPolicy(10, 100 * UNIT), {P0: 2}) == [
        stretch(record(0), epoch=2),
        stretch(record(1), epoch=2),
    ]
    assert len(queue) == 0


def test_room_is_counted_in_records_and_in_bytes() -> None:
    queue = PartitionBatchQueue(max_records=4, max_bytes=10 * UNIT)
    assert queue.room == 4
    queue.put(stretch(record(0), record(1)))
    assert queue.room == 2
    queue.put(stretch(record(2, size=8)))
    assert queue.room == 0, "full by bytes"


def test_fetching_goes_on_only_when_the_queue_is_half_empty_by_both_measures() -> None:
    queue = PartitionBatchQueue(max_records=4, max_bytes=100 * UNIT)
    queue.put(stretch(*(record(n, size=20) for n in range(4))))
    assert not queue.is_half_empty
    queue.take(BatchPolicy(1, 100 * UNIT), {P0: 1})
    assert not queue.is_half_empty
    queue.take(BatchPolicy(1, 100 * UNIT), {P0: 1})
    assert queue.is_half_empty


def test_alone_gives_batches_of_one() -> None:
    queue = queue_of(stretch(record(0), record(1)))

    assert queue.take(BatchPolicy(10, 100 * UNIT).alone(), {P0: 1}) == [stretch(record(0))]


def test_a_record_larger_than_a_batch_is_one() -> None:
    queue = queue_of(stretch(record(0, size=9), record(1)))
    policy = BatchPolicy(10, 5 * UNIT)

    assert records_in(queue.take(policy, {P0: 1})) == [record(0, size=9)]
    assert records_in(queue.take(policy, {P0: 1})) == [record(1)]


def test_stretches_without_records_are_taken_in_order_and_take_a_place_each() -> None:
    queue = queue_of(stretch(record(0)), passage(1, 5), stretch(record(5)), passage(6, 7))
    assert queue.room == 6

    batch = queue.take(BatchPolicy(3, 100 * UNIT), {P0: 1})
    assert [(one.from_offset, one.to_offset) for one in batch] == [(0, 1), (1, 5), (5, 6)]
    (left,) = queue.take(BatchPolicy(1, 0), {P0: 1})
    assert (left.from_offset, left.to_offset) == (6, 7)
    assert queue.room == 10
