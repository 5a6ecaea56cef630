"""A PostgreSQL that follows another one by streaming, and can be promoted."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from standalone.ports import HOST, choose_port
from standalone.postgres.data_directory import installation
from standalone.postgres.server import SETTINGS, EmbeddedPostgres
from standalone.postgres.unix_user import can_reach, unprivileged_user
from standalone.processes.child_process import UnixUser, guarded
from tests.servers import first_port, make_home

UP_S = 120.0
FIRST_PORT = 420  # in the range of this worker


@dataclass(frozen=True, slots=True)
class Standby:
    """A running standby: its port, and the superuser's URL."""

    port: int
    admin_url: str

    async def promote(self) -> None:
        """Make it the primary; return when it takes writes."""
        connection = await asyncpg.connect(self.admin_url, timeout=30)
        try:
            assert await connection.fetchval("SELECT pg_promote(wait => true, wait_seconds => 60)")
        finally:
            await connection.close()


@contextmanager
def following(primary: EmbeddedPostgres, *, loses_nothing: bool = True) -> Iterator[Standby]:
    """Yield a standby of a server that runs; it has caught up.

    Args:
        primary: the server that it follows.
        loses_nothing: whether it says that it lacks no commit when it is promoted; else processes
            that lived before, such as ours, end.
    """
    home = make_home("standby")
    user = unprivileged_user(home / "none")
    if user is not None:
        os.chown(home, user.uid, user.gid)
    binaries, data = _binaries(primary, user), home / "data"
    admin = urlsplit(primary.admin_url)
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD": admin.password or "", "LC_ALL": "C"}
    copy = [str(binaries / "pg_basebackup"), f"--pgdata={data}", "--write-recovery-conf"]
    copy += ["--checkpoint=fast", f"--host={HOST}", f"--port={admin.port}"]
    copy += [f"--username={admin.username}"]
    subprocess.run(guarded(copy, user=user), check=True, env=environment, timeout=UP_S, cwd="/")
    port = choose_port(first_port() + FIRST_PORT)
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    settings += ["--photo_archive.loses_nothing=on"] if loses_nothing else []
    argv = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), *settings]
    log = home / "standby.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            guarded(argv, user=user), env=environment, cwd="/", stdout=output, stderr=output
        )
    standby = Standby(
        port, f"postgresql://{admin.username}:{admin.password}@{HOST}:{port}/postgres"
    )
    try:
        _wait_until_up(standby, process, log)
        yield standby
    finally:
        process.terminate()
        process.kill()
        process.wait(60)
        shutil.rmtree(home, ignore_errors=True)


def _binaries(primary: EmbeddedPostgres, user: UnixUser | None) -> Path:
    """Return the folder of the programs that the primary runs, which the user can enter."""
    folder = installation() / "bin"
    return folder if can_reach(user, folder / "postgres") else primary._started().binaries


def _wait_until_up(standby: Standby, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline and process.poll() is None:
        if b"read-only connections" in log.read_bytes():
            return
        time.sleep(0.05)
    raise RuntimeError(f"the standby at {standby.port} did not come up: {log.read_text()}")


async def caught_up(primary: EmbeddedPostgres, standby: Standby, *, within_s: float = 60) -> None:
    """Wait until the standby has replayed what the primary has written so far."""
    first = await asyncpg.connect(primary.admin_url, timeout=30)
    second = await asyncpg.connect(standby.admin_url, timeout=30)
    try:
        written = await first.fetchval("SELECT pg_current_wal_lsn()::text")
        replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
        async with asyncio.timeout(within_s):
            while not await second.fetchval(replayed, written):
                await asyncio.sleep(0.05)
    finally:
        await first.close()
        await second.close()
