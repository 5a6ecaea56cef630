"""The note that a restore leaves in a home until it is done: a home that has it is not whole.

It is there before anything else is, and goes last. So whoever is killed in the middle leaves it,
and nobody starts what came of that: not `up`, not a command that works with the home's data.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import ConfigurationError
from standalone.files import write_private

FILE_NAME = "restoring.json"


class HomeNotWhole(ConfigurationError):
    """A restore into this home was cut off; the message says what to do."""


class RestoreNote(BaseModel):
    """What is restored.

    Attributes:
        command: as it was given; given again, it goes on or begins anew.
        backup: SHA-256 of the manifest, by which the backup is known wherever it lies.
        done: what came of it, from the moment on when the database may be in its place; None:
            whatever was in the home before is there, unchanged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    command: str
    backup: str
    done: dict[str, Any] | None = None


def is_there(home: Path) -> bool:
    """Return whether a restore is under way or was cut off."""
    return (home / FILE_NAME).exists()


def read(home: Path) -> RestoreNote | None:
    """Return the note of a home; None where no restore is under way or was cut off.

    Raises:
        HomeNotWhole: it cannot be read, which a cut-off cannot have done.
    """
    path = home / FILE_NAME
    try:
        return RestoreNote.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise HomeNotWhole(
            f"{path}: a restore was cut off here, and what it noted cannot be read"
            f" ({type(error).__name__}): use the version that wrote it"
        ) from error


def write(home: Path, note: RestoreNote) -> None:
    """Write the note, in place of an earlier one; it is on the disk when this returns."""
    write_private(home / FILE_NAME, note.model_dump_json())
    _sync(home)


def remove(home: Path) -> None:
    """Remove the note, after all that was written into the home is on the disk."""
    _sync(home)
    (home / FILE_NAME).unlink(missing_ok=True)


def check_whole(home: Path) -> None:
    """Raise if a restore into this home was cut off.

    Raises:
        HomeNotWhole: it was; the message says what to do.
    """
    note = read(home)
    if note is None:
        return
    again = f"{home}: a restore was cut off here: run `{note.command}` again"
    if note.done is not None:
        raise HomeNotWhole(f"{again}, which ends it; the archive is not whole until then")
    raise HomeNotWhole(
        f"{again}, which begins anew; or remove {home / FILE_NAME} to go on with what was here"
        " before, if anything was: it is unchanged"
    )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
