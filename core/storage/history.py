"""Whether the database still knows what this process was told by it (decision 0048)."""

import os
import signal
from collections.abc import Callable

import structlog

from core.errors import DatabaseAway

log = structlog.get_logger(__name__)


def end_this_process() -> None:
    """Ask this process to stop, as its supervisor would; that one starts it again."""
    os.kill(os.getpid(), signal.SIGTERM)


class History:
    """The promotions that a process has lived through.

    A promoted standby that lagged has forgotten commits. What a process holds in memory may be of
    them: labels and their ids, keys, claims. So it ends, and begins anew with what is there.

    Args:
        end: ends this process, soon.
    """

    def __init__(self, end: Callable[[], None] = end_this_process) -> None:
        self._end = end
        self._known: int | None = None
        self._is_over = False

    @property
    def is_begun(self) -> bool:
        """Whether anything was compared, so that there is a schema."""
        return self._known is not None

    def compare(self, newest: int) -> None:
        """Note the newest promotion that forgot anything; end where it came in our life.

        Raises:
            DatabaseAway: it did; no connection is used any more.
        """
        if self._known is None:
            self._known = newest
        if self._known == newest and not self._is_over:
            return
        if not self._is_over:
            self._is_over = True
            log.error("database_forgot", promotion=newest)
            self._end()
        raise DatabaseAway("the database was promoted and has forgotten commits: this process ends")
