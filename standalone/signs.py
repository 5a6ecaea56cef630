"""Signs of life: while something is waited for, a line now and then says for what."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

EVERY_S = 15.0  # a start without trouble takes less, and so says nothing


class SignsOfLife:
    """Says what is waited for, every 15 s while its block lasts.

    Args:
        say: is called with each line, from another thread.
        what: returns what is waited for; empty: nothing is said this time.
        every_s: seconds between two lines.
    """

    def __init__(
        self, say: Callable[[str], None], what: Callable[[], str], *, every_s: float = EVERY_S
    ) -> None:
        self._say = say
        self._what = what
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="signs", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; no line comes afterwards."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            if what := self._what():
                self._say(f"still waiting for {what} …")
