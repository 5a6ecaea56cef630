"""Batches: greedy, capped, never empty while something is there, nothing lost or reordered."""

from hypothesis import given
from hypothesis import strategies as st

from core.messaging.batching import BatchPolicy, EntryQueue
from core.messaging.tracking import Entry
from schemas.record import Partition, Record

P0, P1 = Partition("t", 0), Partition("t", 1)
RECORD = Record("t", None, (), b"")


def entry(offset: int, size: int = 1, partition: Partition = P0, epoch: int = 1) -> Entry:
    return Entry(partition, epoch, offset, offset, RECORD, 0, size)


def queue_of(*entries: Entry) -> EntryQueue:
    queue = EntryQueue(max_records=10, max_bytes=100)
    queue.extend(entries)
    return queue


@given(
    sizes=st.lists(st.integers(1, 50), max_size=60),
    max_records=st.integers(1, 20),
    max_bytes=st.integers(1, 120),
)
def test_batches_keep_the_caps_and_lose_nothing(
    sizes: list[int], max_records: int, max_bytes: int
) -> None:
    entries = [entry(offset, size) for offset, size in enumerate(sizes)]
    queue = queue_of(*entries)
    policy = BatchPolicy(max_records, max_bytes)

    batches = []
    while batch := queue.take(policy, {P0: 1}):
        batches.append(batch)

    assert [one for batch in batches for one in batch] == entries
    assert len(queue) == 0
    for batch in batches:
        assert len(batch) <= max_records
        assert sum(one.size for one in batch) <= max_bytes or len(batch) == 1


def test_what_another_epoch_brought_is_thrown_away() -> None:
    queue = queue_of(
        entry(0, epoch=1), entry(0, epoch=2), entry(0, partition=P1), entry(1, epoch=2)
    )

    assert queue.take(BatchPolicy(10, 100), {P0: 2}) == [entry(0, epoch=2), entry(1, epoch=2)]
    assert len(queue) == 0


def test_room_is_counted_in_records_and_in_bytes() -> None:
    queue = EntryQueue(max_records=3, max_bytes=10)
    assert queue.room == 3
    queue.extend([entry(0, size=2)])
    assert queue.room == 2
    queue.extend([entry(1, size=8)])
    assert queue.room == 0, "full by bytes"


def test_fetching_goes_on_only_when_the_queue_is_half_empty_by_both_measures() -> None:
    queue = EntryQueue(max_records=4, max_bytes=100)
    queue.extend([entry(n, size=20) for n in range(4)])
    assert not queue.is_half_empty
    queue.take(BatchPolicy(1, 100), {P0: 1})
    assert not queue.is_half_empty
    queue.take(BatchPolicy(1, 100), {P0: 1})
    assert queue.is_half_empty


def test_alone_gives_batches_of_one() -> None:
    queue = queue_of(entry(0), entry(1))

    assert queue.take(BatchPolicy(10, 100).alone(), {P0: 1}) == [entry(0)]
