"""The files of a home that a backup brings: its keys, and the folders that it may read."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from core.failpoints import reach
from photo_archive.backing.manifest import HOME, KEY, Manifest


class HomeFiles:
    """Files that are written beside those of a home, before they take their places.

    Args:
        home: where to.
        folder: of the backup.
        manifest: its own.
    """

    def __init__(self, home: Path, folder: Path, manifest: Manifest) -> None:
        from standalone.files import write_private  # a home is there where this package is

        self._places: list[tuple[Path, Path]] = []
        for name in manifest.files:
            if name == KEY or name.startswith(f"{HOME}/"):
                place = home / name.removeprefix(f"{HOME}/")
                waiting = place.with_name(f"{place.name}.restored")
                write_private(waiting, (folder / name).read_text())
                self._places.append((waiting, place))

    def put_in_place(self) -> None:
        """Rename each to its name; a file that was there stays beside it, and was never missing."""
        behind = f".before-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        for waiting, place in self._places:
            if place.exists() and place.read_bytes() != waiting.read_bytes():
                shutil.copy2(place, place.with_name(place.name + behind))
            waiting.rename(place)
            reach("restore.placed")

    def forget(self) -> None:
        """Remove those that have not taken their places."""
        for waiting, _ in self._places:
            waiting.unlink(missing_ok=True)
