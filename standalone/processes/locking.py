"""A lock that lets one process at a time use a data directory.

We take it before a server starts and hand its descriptor on to the server, so that it holds while
either of us lives: a second Kafka on a directory damages the first one's metadata before it
notices (docs/research/embedded.md, section 1.6).
"""

import contextlib
import fcntl
import json
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from standalone.failures import DirectoryLocked

ORPHAN_PATIENCE_S = 3.0  # the parent-death signal ends an orphan long before
ORPHAN_STOP_S = 20.0  # Kafka's clean stop takes 0.5 s, PostgreSQL's checkpoint a few seconds
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that holds a lock, as its file names it."""

    pid: int
    child_pid: int = 0
    ports: str = ""

    def describe(self) -> str:
        """Return its process and ports, for a message."""
        ports = f", ports {self.ports}" if self.ports else ""
        return f"process {self.pid}{ports}"


class DirectoryLock:
    """An exclusive `flock` on a file in the directory that it protects.

    Args:
        path: the lock file. It is created when missing and never removed: after a removal two
            processes could hold the lock.
        subject: the name of what uses the directory, for messages.
    """

    def __init__(self, path: Path, subject: str) -> None:
        self._path = path
        self._subject = subject
        self._descriptor: int | None = None
        self._releasing = threading.Lock()

    @property
    def is_held(self) -> bool:
        """Whether this process holds it."""
        return self._descriptor is not None

    @property
    def descriptor(self) -> int:
        """The open descriptor that carries the lock, to be passed on to the server."""
        if self._descriptor is None:
            raise RuntimeError(f"the lock of {self._subject} is not held")
        return self._descriptor

    def acquire(self) -> None:
        """Take the lock.

        A server whose supervisor was killed holds it a moment longer. It is waited for; where the
        system knows no parent-death signal, it is asked to stop.

        Raises:
            DirectoryLocked: a living process holds the lock.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self.describe_owner()

    def _wait(self, descriptor: int) -> None:
        started = time.monotonic()
        asked = False
        while not _try_lock(descriptor):
            owner = self._owner()
            waited_s = time.monotonic() - started
            if owner is not None and is_alive(owner.pid):
                raise DirectoryLocked(
                    f"{self._subject} in {self._path.parent} is in use by {owner.describe()}. "
                    "Stop it first, or choose another STANDALONE_HOME"
                )
            if waited_s > ORPHAN_STOP_S:
                left = f" (process {owner.child_pid}?)" if owner else ""
                raise DirectoryLocked(
                    f"a process left over from an earlier run{left} still works in "
                    f"{self._path.parent}; end it and start again"
                )
            if waited_s > ORPHAN_PATIENCE_S and owner and owner.child_pid and not asked:
                asked = True
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(owner.child_pid, signal.SIGTERM)
            time.sleep(POLL_S)

    def describe_owner(self, *, child_pid: int = 0, ports: str = "") -> None:
        """Write into the lock file who holds it, for the message of a second start."""
        record = json.dumps(asdict(LockHolder(os.getpid(), child_pid, ports))).encode()
        # One write over the old text, so that no reader sees an empty file. JSON allows the blanks.
        os.pwrite(self.descriptor, record.ljust(500), 0)

    def _owner(self) -> LockHolder | None:
        try:
            return LockHolder(**json.loads(self._path.read_text()))
        except (ValueError, TypeError):
            return None  # it is being written

    def release(self) -> None:
        """Release the lock, if we hold it. A server that has the descriptor goes on holding it."""
        with (
            self._releasing
        ):  # called by the thread that runs the server and by the one that stops it
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock in this file; the look leaves no trace."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none
        return False
    return False


def is_alive(pid: int) -> bool:
    """Return whether a process with this id runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
