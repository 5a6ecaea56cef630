"""The queue between fetching and preparing, and how batches are taken from it. Pure.

Greedy: a batch is what lies there when the role is free, capped by count and bytes; no timer, so
an idle system answers at once and a busy one fills its batches.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.messaging.tracking import Entry
from schemas.record import Partition


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Caps of one batch; a single record larger than `max_bytes` is a batch of its own."""

    max_records: int
    max_bytes: int

    def alone(self) -> "BatchPolicy":
        """The same with one record per batch."""
        return BatchPolicy(1, self.max_bytes)


class EntryQueue:
    """Fetched records in order, bounded in number and bytes.

    The bound is a signal, not a wall: what a fetch has given is taken in, and no further fetch is
    made until there is room again.

    Args:
        max_records: room in records.
        max_bytes: room in bytes.
    """

    def __init__(self, *, max_records: int, max_bytes: int) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._max_records = max_records
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def room(self) -> int:
        """How many more records may be asked for; 0 when full by either measure."""
        if self._bytes >= self._max_bytes:
            return 0
        return max(0, self._max_records - len(self._entries))

    @property
    def is_half_empty(self) -> bool:
        """Whether a paused fetch may go on: well below the bounds, so that it does not flap."""
        return len(self._entries) * 2 <= self._max_records and self._bytes * 2 <= self._max_bytes

    def extend(self, entries: Iterable[Entry]) -> None:
        """Put records in."""
        for entry in entries:
            self._entries.append(entry)
            self._bytes += entry.size

    def take(self, policy: BatchPolicy, ready: Mapping[Partition, int]) -> list[Entry]:
        """Take a batch; entries of another epoch than `ready` has are thrown away on the way."""
        batch: list[Entry] = []
        size = 0
        while self._entries and len(batch) < policy.max_records:
            entry = self._entries[0]
            if ready.get(entry.partition) == entry.epoch:
                if batch and size + entry.size > policy.max_bytes:
                    break
                batch.append(entry)
                size += entry.size
            self._entries.popleft()
            self._bytes -= entry.size
        return batch

    def clear(self) -> None:
        """Throw all away."""
        self._entries.clear()
        self._bytes = 0
