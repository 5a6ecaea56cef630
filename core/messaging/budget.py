"""How many dead letters a partition may have before it halts and someone has to look. Pure.

A bad deploy would otherwise turn a whole topic into dead letters (arroyo `dlq.py`, uForwarder).
"""

from collections import deque

from schemas.record import Partition


class DeadLetterBudget:
    """Counts dead letters among the last records of each partition.

    Args:
        window: how many of the last records count.
        max_share: the share of the window that may be dead letters, 0 to 1.
    """

    def __init__(self, *, window: int, max_share: float) -> None:
        self._window = window
        self._allowed = int(window * max_share)
        # Only windows with a dead letter in them: a good record changes nothing in the others.
        self._seen: dict[Partition, deque[bool]] = {}

    @property
    def is_untouched(self) -> bool:
        """Return whether no window has a dead letter, so that good records need not be noted."""
        return not self._seen

    def note(self, partition: Partition, *, dead: bool) -> bool:
        """Count one finished record; return True if the partition is over its budget."""
        seen = self._seen.get(partition)
        if seen is None:
            if not dead:
                return False
            seen = self._seen[partition] = deque(maxlen=self._window)
        seen.append(dead)
        over = dead and sum(seen) > self._allowed
        if not dead and not any(seen):
            del self._seen[partition]
        return over

    def forget(self, partition: Partition) -> None:
        """Forget what was counted of this partition."""
        self._seen.pop(partition, None)
