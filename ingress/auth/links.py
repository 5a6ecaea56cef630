"""Signed links, checked with the instance's keys."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.webhooks.links import check_link


@dataclass(frozen=True, slots=True)
class SignedLinks:
    """Checks links that the delivery role signs; without keys none is valid."""

    keys: Sequence[bytes]
    now: Callable[[], datetime]

    def check(self, link: str) -> None:
        """Pass a link (path and query) that is ours and not expired.

        Raises:
            LinkRefused: it was altered, has expired, or is none of ours.
        """
        check_link(link, keys=self.keys, now=self.now())
