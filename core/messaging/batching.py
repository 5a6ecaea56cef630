"""The queue between fetching and preparing, and how batches are taken from it. Pure.

Greedy: a batch is whatever is queued when the role becomes free, capped by count and bytes. There
is no timer, so an idle system answers at once and a busy one fills its batches.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from core.messaging.partition_batch import PartitionBatch
from schemas.record import Partition


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
        self._records += len(partition_batch)
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
            if batch and not fitting:
                self._put_back(partition_batch)
                break
            fitting = max(1, fitting)
            if fitting < len(partition_batch):
                partition_batch, rest = partition_batch.split(fitting)
                self._put_back(rest)
            batch.append(partition_batch)
            count += len(partition_batch)
            size += partition_batch.size
        return batch

    def clear(self) -> None:
        """Drop everything."""
        self._partition_batches.clear()
        self._records = 0
        self._bytes = 0

    def _pop(self) -> PartitionBatch:
        partition_batch = self._partition_batches.popleft()
        self._records -= len(partition_batch)
        self._bytes -= partition_batch.size
        return partition_batch

    def _put_back(self, partition_batch: PartitionBatch) -> None:
        self._partition_batches.appendleft(partition_batch)
        self._records += len(partition_batch)
        self._bytes += partition_batch.size
