"""Java's ahead-of-time cache of the broker: the first answer comes after 2 s instead of 4 s.

It is recorded once, by a broker on scratch data that is started and stopped before the first real
one: Java writes it when that ends, which takes seconds, and a stop should take none. Without a
cache, or with one that does not fit, Java starts as usual. Its file's name is a hash of all that it
depends on: a cache may be missing, but never wrong.
"""

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from standalone.processes.locking import is_alive

CLASSES = "with SASL"  # what a broker loads; change it when that changes, to record anew
REJECTED = "error has occurred while processing the AOT cache"  # Java 25 then starts without it
POLL_S = 0.05
KEPT = 8  # caches of 70 MB, one per place of the jars: those of deleted checkouts must not pile up


class AotCache:
    """The cache file for one Java, one class path, one place.

    Args:
        folder: the folder of such files.
        java: the version of the run-time environment and the path of its binary.
        class_path: the jars; Java compares their paths and their order.
    """

    def __init__(self, folder: Path, java: Sequence[str], class_path: Sequence[Path]) -> None:
        parts = [CLASSES, *java, *map(str, class_path)]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        self._file = folder / f"kafka-{key}.aot"
        self._recording = folder / f"kafka-{key}.{os.getpid()}.recording"

    def options(self) -> list[str]:
        """Return Java's options that use the cache; none where there is none."""
        if not self._file.exists():
            return []
        with contextlib.suppress(OSError):
            os.utime(self._file)  # the least recently used ones are deleted
        return [f"-XX:AOTCache={self._file}"]

    def recording_options(self) -> list[str]:
        """Return Java's options that record the cache."""
        return [f"-XX:AOTCacheOutput={self._recording}"]

    def ensure(self, record: Callable[[], None]) -> None:
        """Let a missing cache be recorded, by one process at a time; others start without it.

        Args:
            record: runs a broker with `recording_options`, stops it and calls `keep`.
        """
        if self._file.exists():
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with (self._file.parent / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # a start is quicker without it than behind another's recording
            if not self._file.exists():
                self._sweep()
                record()

    def keep(self) -> None:
        """Put a recorded cache into its place; to be called after a clean stop."""
        with contextlib.suppress(OSError):
            if self._recording.exists():
                self._recording.rename(self._file)

    def discard(self) -> None:
        """Delete what a recording that failed has left."""
        for left in self._file.parent.glob(f"{self._recording.name}*"):
            left.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Delete the unfinished recordings of runs that were killed, and all but a few caches."""
        for file in self._file.parent.glob("kafka-*.recording*"):
            pid = file.name.split(".")[1]
            if pid.isdigit() and not is_alive(int(pid)):
                file.unlink(missing_ok=True)
        caches = sorted(self._file.parent.glob("kafka-*.aot"), key=lambda file: -_used(file))
        for file in caches[KEPT - 1 :]:
            file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete a cache that Java rejected; the next run records a new one."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


def _used(file: Path) -> float:
    """Return when the file was last used, s; 0 when another start has just deleted it."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


@contextmanager
def ended_after(limit_s: float, give_up: Callable[[], None]) -> Iterator[None]:
    """Give up what the block does when the time is over, whatever it does then.

    Args:
        limit_s: the time.
        give_up: is called from then on until the block ends: a process may only just come to be.
    """
    is_over = threading.Event()

    def watch() -> None:
        wait_s = limit_s
        while not is_over.wait(wait_s):
            give_up()
            wait_s = POLL_S

    thread = threading.Thread(target=watch, name="recording-limit", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
