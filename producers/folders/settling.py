"""Which files have come to rest: no event says that a writer is done. Pure.

A file is at rest when size, modification time and inode stayed the same for `settle_s`. Time is
an argument: `now` in monotonic seconds, `wall_ns` as the file system's clock.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from core.blobs.roots import Signature
from core.storage.folders.watched_files import FileState, WatchedFile


@dataclass(frozen=True, slots=True)
class Pace:
    """The bridge's limits.

    Attributes:
        settle_s: how long a file must not change before it is announced.
        rescan_s: between full scans while events come.
        poll_s: between full scans while none come (no inotify, its limit reached, network disk).
        batch: files per announcement.
        max_failures: failures in a row until a file is quarantined.
        max_bytes: larger files are quarantined at once.
        max_waiting: files that may wait to come to rest; the next scan finds the others.
    """

    settle_s: float = 2.0
    rescan_s: float = 600.0
    poll_s: float = 15.0
    batch: int = 200
    max_failures: int = 5
    max_bytes: int = 64 * 1024 * 1024
    max_waiting: int = 100_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the bridge sees it; `wall_ns` is compared with the file system's."""

    now: Callable[[], float] = time.monotonic
    wall_ns: Callable[[], int] = time.time_ns


class Settling:
    """Files that were seen changing, until they come to rest."""

    def __init__(self, settle_s: float, bound: int) -> None:
        self._settle_s = settle_s
        self._bound = bound
        self._seen: dict[bytes, tuple[Signature, float]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def observe(self, path: bytes, signature: Signature, now: float) -> bool:
        """Note how a file looks; return False where there is no room for it."""
        known = self._seen.get(path)
        if known is not None and known[0] == signature:
            return True
        if known is None and len(self._seen) >= self._bound:
            return False
        self._seen[path] = (signature, now)
        return True

    def forget(self, path: bytes) -> None:
        """Forget a file."""
        self._seen.pop(path, None)

    def take_rested(self, now: float, limit: int) -> dict[bytes, Signature]:
        """Return, and forget, the files unchanged for `settle_s`; the caller checks them again."""
        rested: dict[bytes, Signature] = {}
        for path, (signature, since) in self._seen.items():
            if now - since >= self._settle_s:
                rested[path] = signature
                if len(rested) >= limit:
                    break
        for path in rested:
            del self._seen[path]
        return rested


def is_at_rest(seen: Signature, wall_ns: int, settle_s: float) -> bool:
    """Return whether a file has been untouched for `settle_s`.

    Judged by ctime, which no program can set: a fresh copy by `cp -p` has an old mtime.
    """
    return wall_ns - seen.ctime_ns >= settle_s * 1e9


def needs_work(known: WatchedFile | None, seen: Signature) -> bool:
    """Return whether the ledger lacks the file as it is now, or a failed one may be tried again."""
    if known is None or known.state in (FileState.MISSING, FileState.FAILING):
        return True
    return not is_same(known, seen)


def is_same(known: WatchedFile, seen: Signature) -> bool:
    """Return whether the file is as it was when the ledger's row was written."""
    return (known.size_bytes, known.mtime_ns, known.inode) == (
        seen.size_bytes,
        seen.mtime_ns,
        seen.inode,
    )
