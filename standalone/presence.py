"""Whether the archive of this machine's home runs: known at once, without its servers."""

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

from core.settings import DatabaseSettings, StandaloneSettings, load
from standalone.processes.locking import is_locked
from standalone.shell import read_shell_file

ANSWER_S = 2.0  # of a port on this machine


def leads_here(database_url: str) -> bool:
    """Return whether this address of a database is that of the home's own PostgreSQL."""
    path = _passwords(load(StandaloneSettings).home)
    if not path.exists():
        return False
    passwords: dict[str, str] = json.loads(path.read_text())
    return any(f":{password}@" in database_url for password in passwords.values())


def why_away() -> str:
    """Return why a command cannot reach the archive of this home; empty where it may, or need not.

    Its servers are not asked: one that is down keeps whoever asks for a minute.
    """
    home, database = load(StandaloneSettings).home, load(DatabaseSettings)
    url = database.url.get_secret_value()
    is_told = "url" in database.model_fields_set
    if not _passwords(home).exists() or (is_told and not leads_here(url)):
        return ""  # it is somewhere else
    lock = home.resolve() / "lock"
    if not is_told and _somebody_answers(url) and not (is_locked(lock) and _is_ours(home, url)):
        return ""  # a database at the usual address, whatever this home is
    if not is_locked(lock):
        return (
            f"this archive is not running: no process holds {lock}. Start it by `make demo` or"
            " `photo-archive up`"
        )
    if is_told:
        return ""
    return (
        f"this terminal does not know where the archive in {home.resolve()} is: read"
        f" {home / 'env.sh'} first (`. {home / 'env.sh'}`), which is written when it is up"
    )


def _is_ours(home: Path, url: str) -> bool:
    """Return whether this address is that of the home's own server."""
    ours = urlsplit(read_shell_file(home).get("DATABASE_URL", ""))
    usual = urlsplit(url)
    return bool(ours.port) and (ours.hostname, ours.port) == (usual.hostname, usual.port)


def _passwords(home: Path) -> Path:
    return home / "postgres" / "passwords.json"


def _somebody_answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 5432), ANSWER_S):
            return True
    except (OSError, ValueError):
        return False
