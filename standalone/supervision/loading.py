"""Processes that load one after another: not more of them at a time than there are cores.

Loading is computing. If all processes loaded at once, each would finish when all do, and the one
that takes longest, tagging, decides when the first photo is tagged.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_in_order(steps: Sequence[Callable[[], object]], *, at_once: int) -> None:
    """Begin the steps in their order on other threads; return at once.

    Args:
        steps: each starts a process and returns when it has loaded or ended.
        at_once: most steps that are under way at a time.
    """
    waiting = deque(steps)

    def work() -> None:
        while True:
            try:
                step = waiting.popleft()
            except IndexError:
                return
            step()

    for number in range(min(at_once, len(waiting))):
        threading.Thread(target=work, name=f"loading-{number}", daemon=True).start()
