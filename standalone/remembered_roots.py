"""The folders that an archive was started with: a later start may read them too.

Photos of a folder stay where they are, so an archive whose next start did not know the folder could
not show its own answers. The home keeps the roots; a root that is named again is taken as given.
"""

from collections.abc import Mapping
from pathlib import Path

from core.addresses import parse_roots
from core.errors import ConfigurationError
from standalone.files import write_private

FILE_NAME = "roots"


def with_remembered(home: Path, given: str) -> str:
    """Return the given roots (the text of `ARCHIVE_ROOTS`) and those that the home keeps.

    Raises:
        ValueError: the kept ones cannot be read; the message says what they are.
    """
    return format_roots(_kept(home) | parse_roots(given))


def remember(home: Path, roots: str) -> None:
    """Keep these roots in the home, in place of those that it keeps."""
    write_private(home / FILE_NAME, f"{roots}\n")


def place_of(roots: str, folder: Path) -> str | None:
    """Return `name` or `name/relative/path` of a folder in or below one of the roots, else None."""
    wanted = folder.resolve()
    for name, path in parse_roots(roots).items():
        if wanted.is_relative_to(path.resolve()):
            relative = wanted.relative_to(path.resolve())
            return (Path(name) / relative).as_posix()
    return None


def with_folder(roots: str, folder: Path, wanted: str) -> str:
    """Return the roots and this folder, named `wanted`, or `wanted-2` … where that is taken.

    An image's identity holds the root's name, so two folders must never share one.

    Raises:
        ConfigurationError: `ARCHIVE_ROOTS` cannot say its path.
    """
    path = str(folder.resolve())
    if ";" in path or path != path.strip():
        raise ConfigurationError(
            f"{path!r}: the path of a folder of photos may hold no semicolon, and no blank at its"
            " end"
        )
    known = parse_roots(roots)
    number, name = 1, wanted
    while name in known:
        number += 1
        name = f"{wanted}-{number}"
    return format_roots(known | {name: folder.resolve()})


def format_roots(roots: Mapping[str, Path]) -> str:
    """Return the text that `parse_roots` reads."""
    return ";".join(f"{name}={path}" for name, path in roots.items())


def _kept(home: Path) -> dict[str, Path]:
    path = home / FILE_NAME
    return parse_roots(path.read_text().strip()) if path.exists() else {}
