"""The home of an archive is closed to the other users of this machine.

Whoever may read its files has every secret of it: API keys' signing secrets, passwords, photos.
Where root runs it, PostgreSQL works as another user, which passes through the home to its own
folder and may read nothing on the way.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from core.errors import ConfigurationError

OURS, PASSAGE, SECRET = 0o700, 0o711, 0o600
#: Made beforehand, so that no moment exists in which they are open.
FOLDERS = ("kafka", "logs", "demo")
PASSED_THROUGH = "postgres"


def make_home(home: Path) -> None:
    """Make the home and its folders, closed to others, where they are missing.

    Raises:
        ConfigurationError: it cannot be made.
    """
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(mode=_way(), exist_ok=True)
        (home / PASSED_THROUGH).mkdir(mode=_way(), exist_ok=True)
        for name in FOLDERS:
            (home / name).mkdir(mode=OURS, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"STANDALONE_HOME: {error}") from error


def close_home(home: Path, say: Callable[[str], None]) -> None:
    """Take away what others may do in a home that an earlier version made.

    Args:
        home: the folder of the standalone mode; made when missing.
        say: is called with a message when rights were taken away.

    Raises:
        ConfigurationError: it cannot be made, or its rights cannot be changed.
    """
    make_home(home)
    try:
        taken = [_take(path, most) for path, most in _rights(home)]
    except OSError as error:
        raise ConfigurationError(f"STANDALONE_HOME: {error}") from error
    if any(taken):
        say(f"{home} was open to other users of this machine; it is closed now")


def _rights(home: Path) -> Iterator[tuple[Path, int]]:
    """Yield the home and what lies in it, each with the most that may be allowed there."""
    yield home, _way()
    for entry in home.iterdir():
        if entry.is_symlink():
            continue
        if entry.is_dir():
            yield entry, _way() if entry.name == PASSED_THROUGH else OURS
        else:
            yield entry, SECRET


def _way() -> int:
    return PASSAGE if os.geteuid() == 0 else OURS


def _take(path: Path, most: int) -> bool:
    """Take from others what is beyond `most`; return whether there was anything."""
    mode = stat.S_IMODE(path.stat().st_mode)
    beyond = mode & 0o077 & ~most
    if beyond:
        path.chmod(mode & ~beyond)
    return bool(beyond)
