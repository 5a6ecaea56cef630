"""The watcher: it gives hints of changes below a directory, which may be lost.

What watchfiles 1.3 does (measured): a new directory's first files are missed (169 of 400 seen), a
moved-in tree gives the directory only. One name that is not UTF-8 ends the watch, and none can
begin where a directory has such a name. It tells nothing where the kernel's queue of events ran
over, and goes on in silence where the watched directory was removed, renamed or unmounted.
"""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import structlog
from watchfiles import Change, watch

log = structlog.get_logger(__name__)

# How long the watcher's thread may go on after it was asked to stop.
WAKE_MS = 300
GATHER_MS = 200
GATHER_STEP_MS = 50
# Changes told at once from which on some may be lost. The kernel keeps 16,384 events for a watcher
# and drops the others without a word that reaches us; a new file takes three to five of them.
MANY_CHANGES = 3000
# A watch that broke sooner than this begins the next one later each time: beginning one may take
# minutes where there are many directories, and until then the directory is scanned all the same.
STEADY_S = 60.0
FIRST_PAUSE_S = 0.1
MOUNTS = Path("/proc/self/mountinfo")


class HintKind(StrEnum):
    """What happened to a path."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Hint:
    """A possible change of a file or directory.

    Attributes:
        relative: below the watched directory, bytes.
    """

    kind: HintKind
    relative: bytes


class HintBuffer:
    """Keeps hints until they are read; too many of them become a request for a scan.

    Args:
        bound: how many paths are kept.

    Attributes:
        scan_wanted: set where hints were lost, or may have been; this also ends the pause between
            scans, whose length depends on whether events come.
        state_known: set once it is known whether events come.
        is_live: events come.
    """

    def __init__(self, bound: int) -> None:
        self.scan_wanted = asyncio.Event()
        self.state_known = asyncio.Event()
        self.is_live = False
        self._bound = bound
        self._heard: dict[bytes, HintKind] = {}
        self._something = asyncio.Event()

    def add(self, hints: list[Hint]) -> None:
        """Keep hints; where there are too many, ask for a scan instead, which is cheaper."""
        if len(hints) >= MANY_CHANGES:
            self.scan_wanted.set()
        if len(self._heard) + len(hints) > self._bound:
            self._heard.clear()
            self.scan_wanted.set()
            return
        for hint in hints:
            # A directory that was added and then modified must still be walked.
            if self._heard.get(hint.relative) is not HintKind.ADDED or (
                hint.kind is not HintKind.MODIFIED
            ):
                self._heard[hint.relative] = hint.kind
        self._something.set()

    def set_live(self, is_live: bool) -> None:  # noqa: FBT001 - a state, not an option
        """Note whether events come; when that changes ask for a scan.

        What changed while none came is in no hint; and when they stop coming, a pause that was
        meant for a directory with events must not go on.
        """
        if is_live is not self.is_live and self.state_known.is_set():
            self.scan_wanted.set()
        self.is_live = is_live
        self.state_known.set()

    async def next(self) -> list[Hint]:
        """Wait for hints; return all that there are."""
        await self._something.wait()
        self._something.clear()
        heard, self._heard = self._heard, {}
        return [Hint(kind, relative) for relative, kind in heard.items()]


class Hints(Protocol):
    """A watcher of one directory."""

    async def run(self, listener: HintBuffer) -> None:
        """Tell the listener hints until cancelled; begin a watch that breaks anew."""
        ...


class WatchfilesHints:
    """Hints by watchfiles (inotify, FSEvents, …).

    Args:
        directory: what is watched, with all below it; links on the way to it may be changed.
        retry_s: until a watch that cannot begin is tried again.
        mounts: the system's list of what is mounted where.
    """

    def __init__(self, directory: Path, *, retry_s: float = 60.0, mounts: Path = MOUNTS) -> None:
        self._directory = directory
        self._retry_s = retry_s
        self._mounts = mounts

    async def run(self, listener: HintBuffer) -> None:
        """Tell the listener hints until cancelled."""
        loop = asyncio.get_running_loop()
        broken_soon = 0
        while True:
            place = _Place(self._directory, self._mounts)
            watching = _Watching(place, listener, loop.call_soon_threadsafe)
            began = loop.time()
            try:
                await asyncio.to_thread(watching.run)
            finally:
                watching.stop.set()
            listener.set_live(False)
            pause_s = self._retry_s
            if watching.has_begun:
                broken_soon = broken_soon + 1 if loop.time() - began < STEADY_S else 0
                pause_s = min(FIRST_PAUSE_S * 2 ** min(broken_soon, 10), self._retry_s)
            await asyncio.sleep(pause_s)


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory as a path leads to it now, which may be to another one later."""

    directory: Path
    mounts: Path

    def identity(self) -> tuple[object, ...]:
        """Return what changes when the path leads elsewhere, or a file system comes or goes below.

        Empty where nothing is there. A directory made anew may have the number of the one that
        was removed: that one's watch tells its removal.
        """
        try:
            seen = self.directory.stat()
        except OSError:
            return ()
        return seen.st_dev, seen.st_ino, self._mounted_below()

    def _mounted_below(self) -> frozenset[tuple[bytes, bytes]]:
        """Return what is mounted below, as ids and places; nothing where the system tells none."""
        try:
            lines = self.mounts.read_bytes().splitlines()
        except OSError:
            return frozenset()
        prefix = os.fsencode(self.directory.resolve()) + b"/"
        for letter in b"\\ \t\n":  # written as octal numbers in that list
            prefix = prefix.replace(bytes([letter]), b"\\%03o" % letter)
        fields = [line.split(b" ", 5) for line in lines]
        return frozenset(
            (one[0], one[4]) for one in fields if len(one) > 4 and one[4].startswith(prefix)
        )


class _Watching:
    """One watch in a thread of its own, since it takes long to set up over many directories."""

    def __init__(self, place: _Place, listener: HintBuffer, call: Callable[..., object]) -> None:
        self.stop = threading.Event()
        self.has_begun = False
        self._place = place
        self._listener = listener
        self._call = call

    def run(self) -> None:
        """Watch until `stop` is set or the watch breaks; the reason is logged."""
        try:
            self._watch()
        # watchfiles' errors have no public class, a panic of its own thread is no Exception, and
        # no failure of a watch may end the bridge. No signal is raised in this thread.
        except BaseException as error:  # noqa: BLE001
            self._tell_broken(_explained(error))

    def _watch(self) -> None:
        seen = self._place.identity()
        watched = self._place.directory.resolve()
        own, prefix = os.fsencode(watched), os.fsencode(watched) + b"/"
        for changes in watch(
            watched,
            watch_filter=None,
            stop_event=self.stop,
            debounce=GATHER_MS,
            step=GATHER_STEP_MS,
            rust_timeout=WAKE_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            if not self.has_begun:
                self.has_begun = True
                self._call(self._listener.set_live, True)
            named = [(_KINDS[change], os.fsencode(path)) for change, path in changes]
            hints = [
                Hint(kind, path.removeprefix(prefix))
                for kind, path in named
                if path.startswith(prefix)
            ]
            if hints:
                self._call(self._listener.add, hints)
            if (HintKind.DELETED, own) in named or self._place.identity() != seen:
                self._tell_broken("another directory is there now, or none, or other mounts below")
                return

    def _tell_broken(self, reason: str) -> None:
        log.warning("watch_broken", directory=str(self._place.directory), error=reason)


_KINDS = {
    Change.added: HintKind.ADDED,
    Change.modified: HintKind.MODIFIED,
    Change.deleted: HintKind.DELETED,
}


def _explained(error: BaseException) -> str:
    is_limit = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EMFILE)
    if is_limit or "limit" in str(error).lower():
        return (
            f"{error}: too many directories for inotify? Raise fs.inotify.max_user_watches and"
            " max_user_instances; until then the directory is scanned instead"
        )
    return str(error) or type(error).__name__
