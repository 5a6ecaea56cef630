"""The last file of a backup: what is in it and how to tell that it is whole.

A backup without it was cut off. It is read before anything is changed.
"""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from core.errors import ConfigurationError

FILE_NAME = "manifest.json"
DATABASE, RECORDS, KEY, SETTINGS = (
    "database.dump",
    "records.jsonl.gz",
    "secrets.key",
    "settings.env",
)
#: Folders of a backup: photos' bytes by their hash; files of the home of an archive of one machine.
BYTES, HOME = "bytes", "home"
#: Of a home: the keys that its commands and its demo use, and the folders that it may read.
HOME_FILES = ("admin-key.json", "demo-key.json", "roots")
_NAMES = {DATABASE, RECORDS, KEY, SETTINGS, *(f"{HOME}/{name}" for name in HOME_FILES)}
_CHUNK = 1024 * 1024


def _of_a_backup(name: str) -> str:
    """Return the name of a file that `backup` writes: any other would be a way out of the folder.

    Raises:
        ValueError: it writes none of this name.
    """
    if name not in _NAMES:
        raise ValueError(f"{name!r} is no file of a backup")
    return name


class KeptFile(BaseModel):
    """A file of a backup."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What is in a backup.

    Attributes:
        made_at: when the database was as it is here.
        postgresql: the server's major version.
        schema_revision: of the schema.
        rows: of each table whose rows are here.
        cluster_id: of the Kafka whose offsets the rows count in; empty: it was not asked.
        records: how many records of each consumer group nobody had processed.
        photos: how many photos' bytes lie in `bytes`; None: they are rows, or not here.
        photos_bytes: their size.
        kept_in: where the archive keeps photos' bytes (`ARCHIVE_BLOBS`).
        roots: the folders that it may read photos in; these photos are not here.
        files: every file but this one and the photos' bytes, whose names are their hashes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    made_at: str
    postgresql: int
    schema_revision: str
    rows: dict[str, int]
    cluster_id: str
    records: dict[str, int]
    photos: int | None
    photos_bytes: int
    kept_in: str
    roots: str
    files: dict[Annotated[str, AfterValidator(_of_a_backup)], KeptFile]


def described(directory: Path, names: list[str]) -> dict[str, KeptFile]:
    """Return size and hash of these files, as they are on the disk."""
    return {name: describe(directory / name) for name in names}


def describe(path: Path) -> KeptFile:
    """Return size and hash of a file, after it was written to the disk."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return KeptFile(bytes=file.tell(), sha256=digest.hexdigest())


def read_manifest(directory: Path) -> Manifest:
    """Return what a backup says is in it.

    Raises:
        ConfigurationError: this is no backup, one that was cut off, or one of a later version.
    """
    path = directory / FILE_NAME
    if not directory.is_dir():
        raise ConfigurationError(f"{directory}: there is no such folder")
    if not path.exists():
        raise ConfigurationError(
            f"{directory}: no {FILE_NAME}, which a backup writes last: it was cut off (make a new"
            " one), or this is none"
        )
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "content"
        raise ConfigurationError(
            f"{path}: {where}: {problem['msg']}: damaged, or of a later version of this software"
        ) from None


def check_files(directory: Path, manifest: Manifest) -> None:
    """Raise unless every file is as it was written.

    Raises:
        ConfigurationError: one is missing or another; the message names it.
    """
    for name, kept in manifest.files.items():
        path = directory / name
        try:
            found = describe(path)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}: the backup is damaged") from error
        if found.bytes != kept.bytes:
            raise ConfigurationError(
                f"{path}: {found.bytes} bytes, and {kept.bytes} were written: the backup is damaged"
            )
        if found.sha256 != kept.sha256:
            raise ConfigurationError(
                f"{path}: its content is not what was written (SHA-256 {found.sha256}, not"
                f" {kept.sha256}): the backup is damaged"
            )
