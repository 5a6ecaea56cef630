"""Progress reports from inside `prepare`, for batches that take longer than the watchdog waits.

A role calls `report_progress` whenever a part of its batch is done: a picture decoded, a query
answered. A call from anywhere else has no effect, so a companion task that uses the same instrument
as the role cannot keep a stuck loop alive.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar["Pulse | None"] = ContextVar("pulse", default=None)


class Pulse:
    """How many parts of one batch its tries have completed.

    A part counts only if no earlier try got that far: a batch that fails and is tried again for
    ever is stuck, however busy it looks.

    Args:
        on_progress: called for each part that no earlier try completed.
    """

    def __init__(self, on_progress: Callable[[], None]) -> None:
        self._on_progress = on_progress
        self._steps = 0
        self._farthest = 0

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Count the parts of one try: those reported within the block and in tasks begun there."""
        self._steps = 0
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def step(self) -> None:
        """Count one part as done."""
        self._steps += 1
        if self._steps > self._farthest:
            self._farthest = self._steps
            self._on_progress()


def report_progress() -> None:
    """Report that a part of the present batch is done. Call it a few times per record at most."""
    pulse = _current.get()
    if pulse is not None:
        pulse.step()
