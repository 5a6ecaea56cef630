"""What a home says while a backup is restored into it (standalone/restore_note.py)."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ConfigurationError
from core.failpoints import reach
from photo_archive.backing.manifest import FILE_NAME

if TYPE_CHECKING:
    from standalone.restore_note import RestoreNote


class Noting:
    """Keeps the note. Where the archive has no home here, it keeps none: `begin` is not called.

    Args:
        folder: of the backup.
        command: as it was given; who is told to run it again gets it so.
    """

    def __init__(self, folder: Path, command: str) -> None:
        self._backup = hashlib.sha256((folder / FILE_NAME).read_bytes()).hexdigest()
        self._command = command
        self._home: Path | None = None
        self._earlier: RestoreNote | None = None

    def begin(self, home: Path) -> None:
        """Note that a restore is under way; one that says more already stays."""
        from standalone import restore_note  # a home is there where this package is

        self._home, self._earlier = home, restore_note.read(home)
        if self._earlier is None or self._earlier.done is None:
            self._write(None)
        reach("restore.noted")

    @contextmanager
    def forgotten_unless_begun(self) -> Iterator[None]:
        """Remove the note if the block fails, has changed nothing, and found none."""
        try:
            yield
        except BaseException:
            if self._home is not None and self._earlier is None:
                from standalone import restore_note

                note = restore_note.read(self._home)
                if note is not None and note.done is None:
                    restore_note.remove(self._home)
            raise

    def cut_off(self) -> dict[str, Any] | None:
        """Return what came of the restore that was cut off; None: it had put nothing in place.

        Asked where no unfinished database is: then that of a restore which came so far is in place.

        Raises:
            ConfigurationError: it was of another backup, whose files are missing now.
        """
        note = self._earlier
        if note is None or note.done is None:
            return None
        if note.backup != self._backup:
            raise ConfigurationError(
                f"{self._home}: the restore of another backup was cut off here when its database"
                f" was in place: run `{note.command}` first, which ends it"
            )
        return note.done

    def nothing_is_in_place(self) -> None:
        """Note that what was in the home before is there, unchanged."""
        self._write(None)

    def put_in_place_now(self, done: dict[str, Any]) -> None:
        """Note that from now on the database may be in its place, and what came of the restore."""
        self._write(done)

    def end(self) -> None:
        """Remove the note: all is in its place."""
        if self._home is not None:
            from standalone import restore_note

            restore_note.remove(self._home)

    def _write(self, done: dict[str, Any] | None) -> None:
        if self._home is not None:
            from standalone import restore_note

            note = restore_note.RestoreNote(command=self._command, backup=self._backup, done=done)
            restore_note.write(self._home, note)
