"""Batches: records of one partition that go through the loop together, and the queue of them. Pure.

What the loop itself does (bounding, epochs, the moves of a transaction) it does once per partition
batch. What is done once per record costs a microsecond each time, and tens of thousands of records
come in a second.

Batches are formed greedily: one is whatever is queued when the role becomes free, capped by count
and bytes. There is no timer, so an idle system answers at once and a busy one fills its batches.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.messaging.ports import Fetched
from core.offsets import Move
from schemas.record import Partition


@dataclass(frozen=True, slots=True)
class PartitionBatch:
    """A stretch of one partition's log with its records, fetched under one epoch.

    Attributes:
        from_offset: where the partition stood before it.
        to_offset: where it stands after it; both are offsets without a record for us now and then.
        records: ascending; there may be none at all, since progress has to pass such offsets too.
        size: bytes, as `size_of` counts them.
        unreadable: why the client could not unpack the record; then it is a single, empty one.
    """

    partition: Partition
    epoch: int
    from_offset: int
    to_offset: int
    records: Sequence[Fetched]
    size: int
    unreadable: str = ""

    def __len__(self) -> int:
        return len(self.records)

    def fitting(self, max_records: int, max_bytes: int) -> int:
        """Return how many of the first records keep both bounds."""
        most = min(max_records, len(self.records))
        if self.size <= max_bytes:
            return most
        size = 0
        for count in range(most):
            size += size_of([self.records[count]])
            if size > max_bytes:
                return count
        return most

    def split(self, count: int) -> "tuple[PartitionBatch, PartitionBatch]":
        """Return the first `count` records and the others; there must be some of either."""
        front, back = self.records[:count], self.records[count:]
        size = size_of(front)
        between = front[-1][0] + 1
        return (
            PartitionBatch(self.partition, self.epoch, self.from_offset, between, front, size),
            PartitionBatch(
                self.partition, self.epoch, between, self.to_offset, back, self.size - size
            ),
        )


def size_of(records: Iterable[Fetched]) -> int:
    """Return about how many bytes keys, headers and values take."""
    return sum(
        [
            len(record.value) + len(record.key or b"") + 64 * (1 + len(record.headers))
            for _, _, record in records
        ]
    )


def _weight(partition_batch: PartitionBatch) -> int:
    """Return the places that it takes in the queue; one without records takes one as well."""
    return max(1, len(partition_batch))


def plan_moves(partition_batches: Iterable[PartitionBatch]) -> list[Move]:
    """Return one move per partition, in the order in which their rows are to be locked.

    The batches of each partition must be ascending and without a missing record in between.
    """
    moves: dict[Partition, Move] = {}
    for partition_batch in partition_batches:
        before = moves.get(partition_batch.partition)
        start = partition_batch.from_offset if before is None else before.from_offset
        moves[partition_batch.partition] = Move(
            partition_batch.partition, partition_batch.epoch, start, partition_batch.to_offset
        )
    return sorted(moves.values())


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Caps of one batch; a single record larger than `max_bytes` is a batch of its own."""

    max_records: int
    max_bytes: int

    def alone(self) -> "BatchPolicy":
        """Return the same caps with one record per batch."""
        return BatchPolicy(1, self.max_bytes)


class PartitionBatchQueue:
    """Fetched records in order, bounded in number and bytes.

    The bounds do not refuse anything: all that a fetch returned is put in. The intake reads `room`
    and does not fetch again until there is some.

    Args:
        max_records: room in records.
        max_bytes: room in bytes.
    """

    def __init__(self, *, max_records: int, max_bytes: int) -> None:
        self._partition_batches: deque[PartitionBatch] = deque()
        self._records = 0
        self._bytes = 0
        self._max_records = max_records
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return self._records

    @property
    def room(self) -> int:
        """Return how many more records may be fetched; 0 if either bound is reached."""
        if self._bytes >= self._max_bytes:
            return 0
        return max(0, self._max_records - self._records)

    @property
    def is_half_empty(self) -> bool:
        """Return whether a paused fetch may go on: well below the bounds, so it does not flap."""
        return self._records * 2 <= self._max_records and self._bytes * 2 <= self._max_bytes

    def put(self, partition_batch: PartitionBatch) -> None:
        """Append the records of one fetch."""
        self._partition_batches.append(partition_batch)
        self._records += _weight(partition_batch)
        self._bytes += partition_batch.size

    def take(self, policy: BatchPolicy, ready: Mapping[Partition, int]) -> list[PartitionBatch]:
        """Remove and return the next batch; records whose epoch is not in `ready` are dropped."""
        batch: list[PartitionBatch] = []
        count = size = 0
        while self._partition_batches and count < policy.max_records:
            partition_batch = self._pop()
            if ready.get(partition_batch.partition) != partition_batch.epoch:
                continue
            fitting = partition_batch.fitting(policy.max_records - count, policy.max_bytes - size)
            if batch and not fitting and len(partition_batch):
                self._put_back(partition_batch)
                break
            fitting = max(1, fitting)
            if fitting < len(partition_batch):
                partition_batch, rest = partition_batch.split(fitting)
                self._put_back(rest)
            batch.append(partition_batch)
            count += _weight(partition_batch)
            size += partition_batch.size
        return batch

    def clear(self) -> None:
        """Drop everything."""
        self._partition_batches.clear()
        self._records = 0
        self._bytes = 0

    def _pop(self) -> PartitionBatch:
        partition_batch = self._partition_batches.popleft()
        self._records -= _weight(partition_batch)
        self._bytes -= partition_batch.size
        return partition_batch

    def _put_back(self, partition_batch: PartitionBatch) -> None:
        self._partition_batches.appendleft(partition_batch)
        self._records += _weight(partition_batch)
        self._bytes += partition_batch.size
