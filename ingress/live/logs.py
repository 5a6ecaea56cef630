"""Since when records lie in the logs, seen from outside: by when each log's end was where. Pure."""

from bisect import bisect_right
from collections.abc import Mapping

from schemas.record import Partition

#: Moments kept of a partition. Of more, every second one goes: the farther back, the coarser.
MOST_MOMENTS = 512


class LogHistory:
    """When the end of each log had passed which offset.

    A record's time of arrival is then known to the time between two looks, whoever wrote it, and
    whether or not anybody reads it.
    """

    def __init__(self) -> None:
        self._ends: dict[Partition, list[int]] = {}
        self._moments: dict[Partition, list[float]] = {}

    def note(self, now: float, bounds: Mapping[Partition, tuple[int, int]]) -> None:
        """Note where the logs end now."""
        for partition, (_, end) in bounds.items():
            ends = self._ends.setdefault(partition, [])
            moments = self._moments.setdefault(partition, [])
            if ends and end < ends[-1]:  # another log of the same name
                ends.clear()
                moments.clear()
            if not ends or end > ends[-1]:
                ends.append(end)
                moments.append(now)
            if len(ends) > MOST_MOMENTS:
                del ends[1:-1:2]
                del moments[1:-1:2]

    def there_since(self, partition: Partition, offset: int) -> float | None:
        """Return when the record at this offset was first known to be there; None: it is not."""
        ends = self._ends.get(partition, [])
        place = bisect_right(ends, offset)
        return self._moments[partition][place] if place < len(ends) else None
