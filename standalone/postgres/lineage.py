"""Which of two data directories is the primary's, and what keeps the other one from being it.

A home that never had a standby has one directory and no note. All of this is in files that are
written before the step that they are about, so that a death in between is found at the next start.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from standalone.files import write_private
from standalone.postgres.data_directory import DataDirectory, own

#: In PostgreSQL's folder: the name of the folder that holds the primary, where it is not that one.
PRIMARY_FILE = "primary"
#: The second place of data, inside of the first one's folder.
SECOND = "second"
#: In a folder whose data is to be made anew, with the reason.
UNFIT_FILE = "unfit"
#: PostgreSQL's own: with it a server follows another one, and never takes writes by itself.
STANDBY_SIGNAL = "standby.signal"
#: PostgreSQL's own, for what `ALTER SYSTEM` sets; nobody else writes ours.
_SETTINGS_FILE = "postgresql.auto.conf"


def folders(home: Path) -> tuple[Path, Path]:
    """Return the folders of a home in which data may lie."""
    first = home.resolve() / "postgres"
    return first, first / SECOND


def primary_folder(home: Path) -> Path:
    """Return the folder whose data is the primary's."""
    first, second = folders(home)
    note = first / PRIMARY_FILE
    return second if note.exists() and note.read_text().strip() == SECOND else first


def name_primary(home: Path, folder: Path) -> None:
    """Note, for this start and all later ones, whose data is the primary's."""
    first, _ = folders(home)
    write_private(first / PRIMARY_FILE, f"{folder.name}\n")
    _keep(first)


def is_follower(data: DataDirectory) -> bool:
    """Return whether a server on this data would follow another one."""
    return (data.path / STANDBY_SIGNAL).exists()


def follow(data: DataDirectory) -> None:
    """Let servers on this data follow another one from now on; also what fences a dead primary."""
    path = data.path / STANDBY_SIGNAL
    path.touch(mode=0o600)
    own(data, path)
    _keep(data.path)


def is_fit(folder: Path, data: Path) -> bool:
    """Return whether the data may go on following: it never was a primary's since it was copied."""
    return (data / STANDBY_SIGNAL).exists() and not (folder / UNFIT_FILE).exists()


def call_unfit(folder: Path, why: str) -> None:
    """Have the data of this folder made anew before it is used again."""
    write_private(folder / UNFIT_FILE, f"{why}\n")


def call_fit(folder: Path) -> None:
    """Take back `call_unfit`: the data was made anew."""
    (folder / UNFIT_FILE).unlink(missing_ok=True)


def configure(data: DataDirectory, settings: Mapping[str, str]) -> None:
    """Write what a running server may be told anew, in the place of what it was told before."""
    quoted = {name: value.replace("'", "''") for name, value in settings.items()}
    path = data.path / _SETTINGS_FILE
    write_private(path, "".join(f"{name} = '{value}'\n" for name, value in quoted.items()))
    own(data, path)


def _keep(folder: Path) -> None:
    """Have the names in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
