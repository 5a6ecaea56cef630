"""One owner per data directory, kept by the kernel.

The lock is taken before a server starts and its descriptor is handed on to the server. So it
holds as long as either lives: a second Kafka on a directory damages the first one's metadata
before it notices (docs/research/embedded.md, section 1.6).
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

ORPHAN_PATIENCE_S = 3.0  # an orphan dies by its parent-death signal well within this
ORPHAN_STOP_S = 20.0  # Kafka's clean stop takes 0.5 s, PostgreSQL's checkpoint a few seconds
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock, as written in its file."""

    pid: int
    child_pid: int = 0
    ports: str = ""

    def describe(self) -> str:
        """For a message: process and ports."""
        ports = f", ports {self.ports}" if self.ports else ""
        return f"process {self.pid}{ports}"


class DirectoryLock:
    """An exclusive `flock` on a file in the directory that it protects.

    Args:
        path: the lock file; made when missing, never removed (removing it would let two in).
        subject: what the directory belongs to, for messages.
    """

    def __init__(self, path: Path, subject: str) -> None:
        self._path = path
        self._subject = subject
        self._descriptor: int | None = None
        self._releasing = threading.Lock()

    @property
    def is_held(self) -> bool:
        """Whether we hold it."""
        return self._descriptor is not None

    @property
    def descriptor(self) -> int:
        """Open descriptor that carries the lock, to be passed on to the server."""
        if self._descriptor is None:
            raise RuntimeError(f"the lock of {self._subject} is not held")
        return self._descriptor

    def acquire(self) -> None:
        """Take the lock.

        A server whose supervisor was killed still holds it for a moment: it is waited for, and
        asked to stop where the system knows no parent-death signal.

        Raises:
            DirectoryLocked: a living process owns the directory.
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
        """Write who holds the lock, for the message that a second start gives."""
        record = json.dumps(asdict(Owner(os.getpid(), child_pid, ports))).encode()
        # One write over the old text: a reader never sees an empty file. JSON allows the blanks.
        os.pwrite(self.descriptor, record.ljust(200), 0)

    def _owner(self) -> Owner | None:
        try:
            return Owner(**json.loads(self._path.read_text()))
        except (ValueError, TypeError):
            return None  # being written just now

    def release(self) -> None:
        """Release the lock, if held. A server that still has the descriptor goes on holding it."""
        with self._releasing:  # the keeper's thread and the one that stops it both come here
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


def is_alive(pid: int) -> bool:
    """Whether a process with this id runs. One that ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
