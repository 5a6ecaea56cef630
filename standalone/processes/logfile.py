"""A log file of bounded size, rotated when it is full."""

from io import FileIO
from pathlib import Path

MAX_BYTES = 10 * 1024 * 1024
KEPT_FILES = 3  # role.log, role.log.1, role.log.2: at most 30 MiB a process


class RotatingLog:
    """Appends lines; a full file becomes `<name>.1`, the older one `<name>.2`, and so on.

    One thread writes. What goes wrong with the files costs lines of the log and nothing else: a
    process whose output nobody reads stands still.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._open()

    def write(self, line: bytes) -> None:
        """Append one line; drop it when the disk is full, so that the process goes on."""
        try:
            if self._file.tell() + len(line) > self._max_bytes:
                self._rotate()
            self._file.write(line)
        except OSError:
            return

    def _rotate(self) -> None:
        """Begin a new file; where that cannot be done, empty this one, which stays open."""
        try:
            for number in range(self._kept - 1, 0, -1):
                older = self._numbered(number - 1)
                if older.exists():
                    older.replace(self._numbered(number))
            fresh = self._open()
        except OSError:
            self._file.truncate(0)
            return
        self._file.close()
        self._file = fresh

    def _open(self) -> FileIO:
        return self._path.open("ab", buffering=0)

    def _numbered(self, number: int) -> Path:
        return self._path if number == 0 else Path(f"{self._path}.{number}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
