"""Java's ahead-of-time cache of the broker: the first answer comes after 2 s instead of 4 s.

Without a cache, or with one that does not fit, Java starts as usual. The first run that stops
cleanly records it, in a file whose name is a hash of all that it depends on: a cache may be
missing, but never wrong.
"""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from standalone.processes.locking import is_alive

REJECTED = "error has occurred while processing the AOT cache"  # Java 25 then starts without it


class AotCache:
    """The cache file for one Java, one class path, one place.

    Args:
        folder: the folder of such files.
        java: the version of the run-time environment and the path of its binary.
        class_path: the jars; Java compares their paths and their order.
    """

    def __init__(self, folder: Path, java: Sequence[str], class_path: Sequence[Path]) -> None:
        key = hashlib.sha256("\n".join([*java, *map(str, class_path)]).encode()).hexdigest()[:16]
        self._file = folder / f"kafka-{key}.aot"
        self._recording = folder / f"kafka-{key}.{os.getpid()}.recording"

    @property
    def exists(self) -> bool:
        """Whether the file is there, so that a start can use it."""
        return self._file.exists()

    def options(self) -> list[str]:
        """Return Java's options: use the cache where it exists, else record one."""
        if self._file.exists():
            return [f"-XX:AOTCache={self._file}"]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._sweep()
        return [f"-XX:AOTCacheOutput={self._recording}"]

    def keep(self) -> None:
        """Put a recorded cache into its place; to be called after a clean stop."""
        with contextlib.suppress(OSError):
            if self._recording.exists():
                self._recording.rename(self._file)

    def _sweep(self) -> None:
        """Delete the unfinished recordings of runs that were killed."""
        for file in self._file.parent.glob("kafka-*.recording*"):
            pid = file.name.split(".")[1]
            if pid.isdigit() and not is_alive(int(pid)):
                file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete a cache that Java rejected; the next run records a new one."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
