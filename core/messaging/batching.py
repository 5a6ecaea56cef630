"""The queue between fetching and preparing, and how batches are taken from it. Pure.

Greedy: a batch is what lies there when the role is free, capped by count and bytes; no timer, so
an idle system answers at once and a busy one fills its batches.
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
        """The same with one record per batch."""
        return BatchPolicy(1, self.max_bytes)


class PartitionBatchQueue:
    """Fetched records in order, bounded in number and bytes.

    The bound is a signal, not a wall: what a fetch has given is taken in, and no further fetch is
    made until there is room again.

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
        """How many more records may be asked for; 0 when full by either measure."""
        if self._bytes >= self._max_bytes:
            return 0
        return max(0, self._max_records - self._records)

    @property
    def is_half_empty(self) -> bool:
        """Whether a paused fetch may go on: well below the bounds, so that it does not flap."""
        return self._records * 2 <= self._max_records and self._bytes * 2 <= self._max_bytes

    def put(self, partition_batch: PartitionBatch) -> None:
        """Put records in."""
        self._partition_batches.append(partition_batch)
        self._records += len(partition_batch)
        self._bytes += partition_batch.size

    def take(self, policy: BatchPolicy, ready: Mapping[Partition, int]) -> list[PartitionBatch]:
        """Take a batch; records of another epoch than `ready` has are thrown away on the way."""
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
        """Throw all away."""
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
