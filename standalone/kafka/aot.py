"""Java's ahead-of-time cache of the broker: 4 s to the first answer become 2 s.

An optimisation and nothing more: without a cache, or with one that does not fit, Java starts as
usual. It is recorded by the first run that stops cleanly, into a file whose name holds all that
it depends on, so a cache is never wrong, only missing.
"""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from standalone.processes.locking import is_alive

REJECTED = "error has occurred while processing the AOT cache"  # Java 25; it goes on without


class AotCache:
    """The cache file for one Java, one class path, one place.

    Args:
        folder: where such files are kept.
        java: version of the run-time environment and path of its binary.
        class_path: the jars; Java compares them by path and order.
    """

    def __init__(self, folder: Path, java: Sequence[str], class_path: Sequence[Path]) -> None:
        key = hashlib.sha256("\n".join([*java, *map(str, class_path)]).encode()).hexdigest()[:16]
        self._file = folder / f"kafka-{key}.aot"
        self._recording = folder / f"kafka-{key}.{os.getpid()}.recording"

    @property
    def exists(self) -> bool:
        """Whether a start can use it."""
        return self._file.exists()

    def options(self) -> list[str]:
        """Java's options: use it where it exists, else record it."""
        if self._file.exists():
            return [f"-XX:AOTCache={self._file}"]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._sweep()
        return [f"-XX:AOTCacheOutput={self._recording}"]

    def keep(self) -> None:
        """After a clean stop: put what was recorded in its place."""
        with contextlib.suppress(OSError):
            if self._recording.exists():
                self._recording.rename(self._file)

    def _sweep(self) -> None:
        """Delete what killed runs have left half recorded."""
        for file in self._file.parent.glob("kafka-*.recording*"):
            pid = file.name.split(".")[1]
            if pid.isdigit() and not is_alive(int(pid)):
                file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete a file that Java rejected: the next run records it anew."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
