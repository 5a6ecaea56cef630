"""The watcher: it gives hints of changes below a directory, which may be lost.

What watchfiles 1.3 does (measured): a new directory's first files are missed (169 of 400 seen), a
moved-in tree gives the directory only, and one name that is not UTF-8 ends the watch.
"""

import asyncio
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
        scan_wanted: set where hints were lost, or may have been.
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
        """Note whether events come; after a pause ask for a scan: its changes are in no hint."""
        if is_live and not self.is_live and self.state_known.is_set():
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
        directory: what is watched, with all below it.
        retry_s: until a watch that cannot begin is tried again.
    """

    def __init__(self, directory: Path, *, retry_s: float = 60.0) -> None:
        self._directory = directory
        self._retry_s = retry_s

    async def run(self, listener: HintBuffer) -> None:
        """Tell the listener hints until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            watching = _Watching(self._directory, listener, loop.call_soon_threadsafe)
            try:
                await asyncio.to_thread(watching.run)
            finally:
                watching.stop.set()
            listener.set_live(False)
            # One that ran and broke (a name that is not UTF-8) is begun again at once.
            await asyncio.sleep(GATHER_MS / 1000 if watching.has_begun else self._retry_s)


class _Watching:
    """One watch in a thread of its own, since it takes long to set up over many directories."""

    def __init__(self, directory: Path, listener: HintBuffer, call: Callable[..., object]) -> None:
        self.stop = threading.Event()
        self.has_begun = False
        self._directory = directory
        self._listener = listener
        self._call = call

    def run(self) -> None:
        """Watch until `stop` is set or the watch breaks; the reason is logged."""
        try:
            self._watch()
        # watchfiles' errors have no public class, and no failure of a watch may end the bridge.
        except Exception as error:  # noqa: BLE001
            log.warning("watch_broken", directory=str(self._directory), error=_explained(error))

    def _watch(self) -> None:
        prefix = os.fsencode(self._directory) + b"/"
        for changes in watch(
            self._directory,
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
            hints = [
                Hint(_KINDS[change], os.fsencode(path).removeprefix(prefix))
                for change, path in changes
                if os.fsencode(path).startswith(prefix)
            ]
            if hints:
                self._call(self._listener.add, hints)


_KINDS = {
    Change.added: HintKind.ADDED,
    Change.modified: HintKind.MODIFIED,
    Change.deleted: HintKind.DELETED,
}


def _explained(error: Exception) -> str:
    if "limit" in str(error).lower() or isinstance(error, OSError):
        return (
            f"{error}: too many directories for inotify? Raise fs.inotify.max_user_watches;"
            " until then the directory is scanned instead"
        )
    return str(error)
