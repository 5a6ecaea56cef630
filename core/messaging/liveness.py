"""Signs of life from inside `prepare`, for batches that take longer than the watchdog waits.

A role calls `report_progress` whenever it is done with a part of its batch: a picture decoded, a
query answered. Called anywhere else it does nothing: a companion task that shares an instrument
with the role does not keep a stuck loop alive.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar["Pulse | None"] = ContextVar("pulse", default=None)


class Pulse:
    """How far the tries at one batch got.

    A try counts only as far as none got before it: a batch that fails and is tried again for ever
    is stuck, however busy it looks.

    Args:
        on_progress: called for each step that no try made before.
    """

    def __init__(self, on_progress: Callable[[], None]) -> None:
        self._on_progress = on_progress
        self._steps = 0
        self._farthest = 0

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Count the steps of one try: those made within the block and in tasks begun there."""
        self._steps = 0
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def step(self) -> None:
        """A part of the batch is done."""
        self._steps += 1
        if self._steps > self._farthest:
            self._farthest = self._steps
            self._on_progress()


def report_progress() -> None:
    """Say that a part of the present batch is done. At most a few times per record."""
    pulse = _current.get()
    if pulse is not None:
        pulse.step()
