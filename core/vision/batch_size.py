"""The batch size of the model: it is reduced when memory runs out, and grows back."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_PATIENCE = 16

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class NoRoom(Exception):
    """Not even a single picture fits."""


class BatchCeiling:
    """The largest batch size in use; it shrinks on failure and grows back after successes.

    Args:
        maximum: never above this.
        patience: successes at the ceiling before twice as much is tried.
        halved: is called when a batch was too large and a smaller one will be tried.
    """

    def __init__(
        self,
        maximum: int,
        patience: int = _PATIENCE,
        halved: Callable[[], object] = lambda: None,
    ) -> None:
        self._maximum = maximum
        self._patience = patience
        self._halved = halved
        self._successes = 0
        self.size = maximum

    def failed(self, tried: int) -> bool:
        """Note that `tried` pictures were too many; return False if no smaller batch exists."""
        self._successes = 0
        self.size = max(1, tried // 2)
        if tried > 1:
            self._halved()
        return tried > 1

    def succeeded(self, tried: int) -> None:
        """Note that `tried` pictures fitted."""
        if tried < self.size or self.size == self._maximum:
            return
        self._successes += 1
        if self._successes >= self._patience:
            self._successes = 0
            self.size = min(self._maximum, self.size * 2)

    def reset(self) -> None:
        """Reset to the maximum, as the model has moved to another device."""
        self._successes = 0
        self.size = self._maximum


def encode_in_parts(
    batch: NDArray[np.uint8],
    run: Run,
    ceiling: BatchCeiling,
    is_out_of_memory: Callable[[BaseException], bool],
    release: Callable[[], None],
) -> NDArray[np.float32]:
    """Return `run` of the whole batch, in as many parts as memory requires; rows keep their order.

    Raises:
        NoRoom: a single picture did not fit.
    """
    parts: list[NDArray[np.float32]] = []
    at = 0
    while at < len(batch):
        part = batch[at : at + ceiling.size]
        done = _attempt(part, run, is_out_of_memory)
        if done is None:
            release()
            if not ceiling.failed(len(part)):
                raise NoRoom
            continue
        ceiling.succeeded(len(part))
        parts.append(done)
        at += len(part)
    return np.concatenate(parts)


def _attempt(
    part: NDArray[np.uint8], run: Run, is_out_of_memory: Callable[[BaseException], bool]
) -> NDArray[np.float32] | None:
    """Return the result, or None where memory ran out.

    None instead of an exception: its traceback would hold the tensors that must be freed before
    the next try.
    """
    try:
        return run(part)
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise
