"""PostgreSQL 18 with pgvector as a child process on loopback TCP."""

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from standalone.environment import inherited
from standalone.failures import ServerFailed
from standalone.ports import HOST, PortPlan
from standalone.postgres import lineage
from standalone.postgres.data_directory import SUPERUSER, DataDirectory, prepare_data
from standalone.processes.child_process import ChildProcess, Command
from standalone.processes.embedded_server import NO_SPACE, PORT_IN_USE, EmbeddedServer

DATABASE = "photo_archive"
ROLE = "photo_archive"

#: Read by `note_promotion` of the schema: only a standby that had everything is promoted here.
LOSES_NOTHING = "photo_archive.loses_nothing"

READY = "database system is ready to accept connections"
FOLLOWS = "database system is ready to accept read-only connections"
STALE_MEMORY = "pre-existing shared memory block"
STALE_MEMORY_WAIT_S = 0.2  # a killed postmaster's children live on for up to a second
STOP_GRACE_S = 30.0  # a checkpoint on a slow disk
QUERY_TIMEOUT_S = 300.0  # making a database copies files; a busy machine took a minute
PROMOTE_TIMEOUT_S = 60  # it replays what it has first

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # no socket file, so no limit on the path's length
    "shared_buffers": "256MB",
    # For one sort or hash. Queries with dates or several tags sum all entries of their labels,
    # which spill to disk from some 100,000 images on at the default of 4 MB.
    "work_mem": "48MB",
    "max_wal_size": "1GB",
    "max_connections": "200",  # up to 16 tagging processes with a pool each
    "jit": "off",  # short statements: compiling costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
}

_ROLE_SQL = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
    CREATE ROLE {role} LOGIN CREATEDB;
  END IF;
END $$;
ALTER ROLE {role} PASSWORD '{password}';
GRANT pg_read_all_stats TO {role};
"""  # the last one: `/health` tells a standby that follows from one that is being made


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL whose data lies in `home/postgres`.

    Args:
        home: folder of the standalone mode; made when missing.
        port: first port to try; the next free one is taken when it is in use.
        log: the file of the server's output; `home/logs/postgres.log` when omitted.
        plan: gives the port; None: it is chosen without regard to others.
        folder: of the data; that of the home's primary when omitted.
    """

    def __init__(
        self,
        home: Path,
        port: int,
        *,
        log: Path | None = None,
        plan: PortPlan | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__(
            folder or lineage.primary_folder(home),
            subject="PostgreSQL",
            stop_signal=signal.SIGINT,  # fast; SIGTERM would wait for the clients
            stop_grace_s=STOP_GRACE_S,
        )
        self._log = log or home.resolve() / "logs" / "postgres.log"
        self._wanted_port = port
        self._plan = plan or PortPlan()
        self._data: DataDirectory | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before the start."""
        return self.ports[0] if self.ports else 0

    @property
    def url(self) -> str:
        """The DSN of the database `photo_archive` as its owner. It holds the password."""
        password = self._started().passwords.application
        return f"postgresql://{ROLE}:{password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def admin_url(self) -> str:
        """The DSN of the superuser, for tests and backups. It holds the password."""
        password = self._started().passwords.superuser
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{self.port}/{SUPERUSER}"

    def _started(self) -> DataDirectory:
        if self._data is None:
            raise RuntimeError("PostgreSQL was not started")
        return self._data

    def _data_place(self) -> Path:
        return self._data.path.parent if self._data else self._folder

    def _prepare(self) -> None:
        self._data = prepare_data(self._folder)
        if lineage.is_follower(self._data):
            # Promoted below. Kept in its settings: we may end before anybody connects and notes it.
            lineage.configure(self._data, {LOSES_NOTHING: "on"})

    def _choose_ports(self) -> tuple[int, ...]:
        return (self._plan.choose(self._wanted_port),)

    def _command(self, ports: tuple[int, ...]) -> Command:
        data = self._started()
        settings = [f"--{name}={value}" for name, value in self._settings().items()]
        program = str(data.binaries / "postgres")
        return Command(
            name="postgres",
            argv=(program, "-D", str(data.path), "-p", str(ports[0]), *settings),
            log=self._log,
            environment=_environment(),
            directory=Path("/"),
            markers=(READY, FOLLOWS, PORT_IN_USE, STALE_MEMORY, NO_SPACE),
            descriptors=(self._lock.descriptor,),
            death_signal="INT",
            user=data.user,
        )

    def _settings(self) -> Mapping[str, str]:
        """Return what the server is told on its command line, which nothing overrides."""
        # Alone: nobody waits for a standby that it may have had under `up --standby`.
        return SETTINGS | {"synchronous_standby_names": ""}

    def _is_ready(self, child: ChildProcess, ports: tuple[int, ...]) -> bool:
        if lineage.is_follower(self._started()):
            # We ended when its primary was dead and it was to take that one's place.
            if not self._says(child, FOLLOWS) or not child.is_running:
                return False
            self._promote(ports[0])
        if not self._says(child, READY) or not child.is_running:
            return False
        self._ensure_database(ports[0])
        return child.is_running

    def _promote(self, port: int) -> None:
        """Let a standby take writes; return when it does."""
        sql = f"SELECT pg_promote(true, {PROMOTE_TIMEOUT_S})"
        if self._query(port, sql, timeout_s=PROMOTE_TIMEOUT_S + QUERY_TIMEOUT_S) != "t":
            raise ServerFailed(f"{self._subject} was not promoted in {PROMOTE_TIMEOUT_S} s")

    def _may_try_again(self, child: ChildProcess) -> bool:
        if not child.has_said(STALE_MEMORY):
            return False
        time.sleep(STALE_MEMORY_WAIT_S)
        return True

    def _ensure_database(self, port: int) -> None:
        """Make role, extension and database; each step may be repeated after an interruption."""
        if DATABASE in self._query(port, "SELECT datname FROM pg_database").splitlines():
            return
        # In the template: only a superuser may create it, and every database should have it.
        self._query(port, "CREATE EXTENSION IF NOT EXISTS vector", database="template1")
        password = self._started().passwords.application
        self._query(port, _ROLE_SQL.format(role=ROLE, password=password))
        self._query(port, f"CREATE DATABASE {DATABASE} OWNER {ROLE}")

    def _query(
        self,
        port: int,
        sql: str,
        *,
        database: str = SUPERUSER,
        timeout_s: float = QUERY_TIMEOUT_S,
    ) -> str:
        """Return the output of SQL that psql runs as the superuser."""
        data = self._started()
        argv = [str(data.binaries / "psql"), "--no-psqlrc", "--no-password", "--quiet"]
        argv += ["--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        argv += [f"--host={HOST}", f"--port={port}", f"--username={SUPERUSER}"]
        try:
            done = subprocess.run(
                [*argv, f"--dbname={database}"],
                input=sql,  # not an argument: it may hold a password, and arguments are public
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                env=_environment() | {"PGPASSWORD": data.passwords.superuser},
            )
        except subprocess.TimeoutExpired as error:
            raise ServerFailed(f"PostgreSQL did not answer in {timeout_s:.0f} s") from error
        if done.returncode:
            raise ServerFailed(f"PostgreSQL refused {sql[:40]!r}…: {done.stderr.strip()}")
        return done.stdout.strip()


def _environment() -> dict[str, str]:
    return inherited() | {"LC_ALL": "C"}
