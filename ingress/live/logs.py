"""Since when records lie in the logs, seen from outside: by when each log's end was where. Pure."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from schemas.record import Partition

#: Moments kept of a partition. Of more, those go without which ages are still right to a twentieth.
MOST_MOMENTS = 1000
SHARE = 0.05


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
                kept = _thinned(moments, now)
                self._ends[partition] = [ends[place] for place in kept]
                self._moments[partition] = [moments[place] for place in kept]

    def there_since(self, partition: Partition, offset: int) -> float | None:
        """Return when the record at this offset was first known to be there; None: it is not."""
        ends = self._ends.get(partition, [])
        place = bisect_right(ends, offset)
        return self._moments[partition][place] if place < len(ends) else None


def _thinned(moments: Sequence[float], now: float) -> list[int]:
    """Return the places of those moments that are kept: the farther back, the fewer."""
    kept = [0]
    for place, moment in enumerate(moments[1:-1], 1):
        if moment - moments[kept[-1]] >= SHARE * (now - moment):
            kept.append(place)
    return [*kept, len(moments) - 1]
