"""What waits in each partition: the one place where lag and age are computed. Pure.

Both are those of a reader of committed records. An open transaction ends the log for us, so what
lies behind it is no lag and nothing stands still; it is told apart, for as long as it lasts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core.messaging.ports import Bounds
from schemas.record import Partition


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a partition that we have claimed.

    Attributes:
        records: offsets between progress and where readers of committed records end.
        oldest_s: how long the oldest of them has waited, as far as known; 0: nothing waits.
        held_records: offsets behind an open transaction, which wait for its end.
        held_s: how long they have, as seen from here; 0: none is open.
    """

    records: int
    oldest_s: float
    held_records: int
    held_s: float


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place in the log, and when it was first seen to be where something waits."""

    offset: int
    since_s: float


class BacklogMeter:
    """Measures what waits, and remembers since when."""

    def __init__(self) -> None:
        self._standing: dict[Partition, _Mark] = {}
        self._held: dict[Partition, _Mark] = {}

    def measure(
        self,
        progress: Mapping[Partition, int],
        bounds: Mapping[Partition, Bounds],
        waiting_since_ms: Mapping[Partition, int],
        *,
        at_s: float,
    ) -> dict[Partition, Backlog]:
        """Return what waits in each partition whose progress and bounds are known.

        Args:
            progress: the next offset of each partition that we have claimed.
            bounds: of the logs, as far as known.
            waiting_since_ms: when the oldest record was written that is in hand, where any is.
            at_s: seconds since 1970.
        """
        found: dict[Partition, Backlog] = {}
        standing: dict[Partition, _Mark] = {}
        held: dict[Partition, _Mark] = {}
        for partition in progress.keys() & bounds.keys():
            offset, (_, stable, end) = progress[partition], bounds[partition]
            records, behind = max(0, stable - offset), max(0, end - max(stable, offset))
            oldest_s = held_s = 0.0
            if records:
                mark = standing[partition] = _kept(self._standing.get(partition), offset, at_s)
                written_s = waiting_since_ms.get(partition, at_s * 1000) / 1000
                oldest_s = max(0.0, at_s - min(mark.since_s, written_s))
            if behind:
                mark = held[partition] = _kept(self._held.get(partition), stable, at_s)
                held_s = max(0.0, at_s - mark.since_s)
            found[partition] = Backlog(records, oldest_s, behind, held_s)
        self._standing, self._held = standing, held
        return found


def _kept(before: _Mark | None, offset: int, at_s: float) -> _Mark:
    """Return the mark of before where it is of the same place, else a new one."""
    return before if before is not None and before.offset == offset else _Mark(offset, at_s)
