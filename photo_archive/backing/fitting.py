"""Whether a backup fits the place that it is to be restored to."""

from pathlib import Path

from core.errors import ConfigurationError
from migrations.schema import newest
from photo_archive.backing import photos
from photo_archive.backing.manifest import KEY, Manifest
from photo_archive.backing.places import ArchivePlace


def check(place: ArchivePlace, folder: Path, manifest: Manifest) -> None:
    """Raise unless it fits; nothing is changed.

    Raises:
        ConfigurationError: it is of another version, keeps photos' bytes elsewhere, or has another
            key; the message says what to do.
    """
    _check_version(folder, manifest)
    _check_bytes(place, manifest)
    _check_key(place, folder)


def _check_version(folder: Path, manifest: Manifest) -> None:
    here, there = newest(), manifest.schema_revision
    if here != there:
        raise ConfigurationError(
            f"{folder}: of another version: its database has the schema {there}, and this"
            f" version works with {here}. Restore it with the version that wrote it, then"
            " install this one and run `photo-archive migrate`"
        )


def _check_bytes(place: ArchivePlace, manifest: Manifest) -> None:
    here, there = place.archive.blobs, manifest.kept_in
    if photos.are_rows(here) != photos.are_rows(there):
        raise ConfigurationError(
            f"ARCHIVE_BLOBS: the backup keeps the bytes of photos in {there}, and here they"
            f" would be looked for in {here.partition(':')[0]}: — set ARCHIVE_BLOBS to a place"
            f" of that kind"
        )


def _check_key(place: ArchivePlace, folder: Path) -> None:
    """Raise if SECRETS_KEY, set from outside, does not open what the backup has sealed."""
    path = folder / KEY
    if not path.exists() or not place.key:
        return
    theirs = {key.strip() for key in path.read_text().split(",")}
    ours = {key.strip() for key in place.key.split(",")}
    if not theirs <= ours and not _keeps_key(place):
        raise ConfigurationError(
            f"SECRETS_KEY is another key than that of the backup, or lacks one of several: set"
            f" it to the content of {path}, or unset it"
        )


def _keeps_key(place: ArchivePlace) -> bool:
    """Return whether the key here is the home's own, which gives way to the backup's."""
    path = place.home / KEY if place.home else None
    return path is not None and path.exists() and path.read_text().strip() == place.key
