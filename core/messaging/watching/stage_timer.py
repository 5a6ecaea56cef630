"""How long a task spends in each of its stages; they add up to wall time by construction."""

import time
from collections.abc import Callable

from core.telemetry.metrics import Metrics


class TimeAccount:
    """Counts each moment of one task to exactly one stage.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        group: str,
        task: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spent = metrics.consumer_seconds
        self._group = group
        self._task = task
        self._clock = clock
        self._stage: str | None = None
        self._since = clock()

    def enter(self, stage: str) -> None:
        """Begin a stage: the time that has passed is counted to the one before."""
        now = self._clock()
        if self._stage is not None:
            self._spent.labels(self._group, self._task, self._stage).inc(now - self._since)
        self._stage, self._since = stage, now
