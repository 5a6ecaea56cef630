"""One PostgreSQL of a pair: it leads, or it follows the one that does."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from standalone.environment import inherited
from standalone.failures import DirectoryLocked, DiskFull, ServerFailed
from standalone.ports import HOST
from standalone.postgres import lineage
from standalone.postgres.data_directory import (
    SUPERUSER,
    DataDirectory,
    data_place,
    fill,
    keep_passwords,
    prepare_data,
)
from standalone.postgres.server import (
    FOLLOWS,
    LOSES_NOTHING,
    READY,
    SETTINGS,
    EmbeddedPostgres,
)
from standalone.processes.child_process import ChildProcess, Command
from standalone.processes.embedded_server import LEAST_FREE_BYTES, NO_SPACE

STANDBY_NAME = "standby"
COPY_STOP_S = 2.0
FENCE_TIMEOUT_S = 20.0  # a process that was killed and stays longer hangs in the kernel
LOOK_TIMEOUT_S = 5.0
_POLL_S = 0.02

_REPLICATION = f"""
SELECT count(*) FILTER (WHERE state = 'streaming'), count(*) FILTER (WHERE sync_state = 'sync'
       AND state = 'streaming'), count(*)
FROM pg_stat_replication WHERE application_name = '{STANDBY_NAME}'
"""  # noqa: S608 - a constant
#: What a copy takes, and what may lie beside it soon: the log up to the next checkpoint.
_SIZE = """
SELECT sum(pg_database_size(oid))::int8, pg_size_bytes(current_setting('max_wal_size'))
FROM pg_database
"""
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Replication:
    """How the primary sees its standby.

    Attributes:
        streams: whether it has all but the last moment.
        is_waited_for: whether a commit is acknowledged only when the standby has it on its disk.
        is_connected: whether it is there at all.
    """

    streams: bool = False
    is_waited_for: bool = False
    is_connected: bool = False


class PostgresNode(EmbeddedPostgres):
    """A server that leads until it is told to follow."""

    _leader: "PostgresNode | None" = None
    _copier: ChildProcess | None = None

    def reserve_port(self) -> None:
        """Choose its port, unless it has one: clients are told both before both have started."""
        if not self._ports:
            self._ports = self._choose_ports()

    def follow(self, leader: "PostgresNode") -> None:
        """Follow another one from the next start on."""
        self._leader = leader

    def lead(self) -> None:
        """Take writes from the next start on."""
        self._leader = None

    # -- start

    def _settings(self) -> Mapping[str, str]:
        return {
            **SETTINGS,
            # Kept for a standby that was away a moment; who was away longer is made anew. No slot:
            # it would keep all for a standby that never comes back, until the disk is full.
            "wal_keep_size": "256MB",
            "wal_sender_timeout": "5s",  # a standby that hangs is gone; by default after a minute
            LOSES_NOTHING: "on",
        }

    def _prepare(self) -> None:
        if self._leader is None:
            super()._prepare()
            if not lineage.is_follower(self._started()):
                lineage.configure(self._started(), {})  # nobody is waited for before he is there
            return
        leader = self._leader
        keep_passwords(self._folder, leader._started().passwords)  # noqa: SLF001  # our own class
        place = data_place(self._folder)
        if not lineage.is_fit(self._folder, place):
            (place / "PG_VERSION").unlink(missing_ok=True)  # from now on it is no database
            shutil.rmtree(place, ignore_errors=True)
        self._data = prepare_data(self._folder, make=lambda data: self._copy(leader, data))
        lineage.call_fit(self._folder)
        lineage.configure(self._data, {"primary_conninfo": _way_to(leader)})

    def _copy(self, leader: "PostgresNode", data: DataDirectory) -> None:
        """Make the data of a standby from the leader's, which works on meanwhile."""
        self._check_room(leader, data.path.parent)

        def work(partial: Path) -> None:
            copier = self._copier = ChildProcess(self._copying(leader, data, partial))
            copier.start()
            code = copier.wait()
            if copier.has_said(NO_SPACE):
                raise DiskFull(self._full_disk())
            if code or self._stop_asked:
                raise ServerFailed(f"pg_basebackup ended with code {code}:\n{copier.tail()}")
            copied = DataDirectory(partial, data.binaries, data.user, data.passwords)
            lineage.configure(copied, {})
            lineage.follow(copied)

        fill(data, work)

    def _check_room(self, leader: "PostgresNode", place: Path) -> None:
        """Raise `DiskFull` before a copy that would fill the disk that the leader may write to."""
        said = leader._query(leader.ports[0], _SIZE)  # noqa: SLF001  # our own class
        needed = sum(map(int, said.split("|"))) + LEAST_FREE_BYTES
        free = shutil.disk_usage(place).free
        if free < needed:
            raise DiskFull(
                f"no space left for the standby in {place}: it needs {needed // _MB} MB, and"
                f" {free // _MB} MB are free; make room there and start again"
            )

    def _copying(self, leader: "PostgresNode", data: DataDirectory, target: Path) -> Command:
        program = str(data.binaries / "pg_basebackup")
        options = ("--wal-method=stream", "--checkpoint=fast", "--no-password")
        source = (f"--host={HOST}", f"--port={leader.ports[0]}", f"--username={SUPERUSER}")
        secret = {"PGPASSWORD": data.passwords.superuser, "LC_ALL": "C"}
        return Command(
            name="pg_basebackup",
            argv=(program, f"--pgdata={target}", *options, *source),
            log=self._log,
            environment=inherited() | secret,
            directory=Path("/"),
            markers=(NO_SPACE,),
            user=data.user,
        )

    @property
    def pid(self) -> int:
        """The process id, also of what makes its data; 0 when neither ever ran."""
        copier = self._copier
        return copier.pid if copier is not None and copier.is_running else super().pid

    def stop(self) -> None:
        """Stop it cleanly, or the copy that is being made for it."""
        self._stop_asked = True
        if (copier := self._copier) is not None:
            copier.stop(signal.SIGTERM, COPY_STOP_S)
        super().stop()

    def _is_ready(self, child: ChildProcess, ports: tuple[int, ...]) -> bool:
        if self._leader is None:
            return super()._is_ready(child, ports)
        return self._says(child, FOLLOWS) and child.is_running

    # -- while it runs

    def replication(self) -> Replication:
        """Return how the standby is.

        Raises:
            ServerFailed: this server does not answer.
        """
        said = self._query(self.ports[0], _REPLICATION, timeout_s=LOOK_TIMEOUT_S).split("|")
        return Replication(*(count.strip() != "0" for count in said))

    def wait_for_standby(self, *, is_waited_for: bool) -> None:
        """Acknowledge commits only when the standby has them; or at once, from now on."""
        names = {"synchronous_standby_names": STANDBY_NAME} if is_waited_for else {}
        lineage.configure(self._started(), names)
        if self._child is not None:
            self._child.send(signal.SIGHUP)

    def checkpoint(self) -> None:
        """Return when the server has read its settings, whichever process of it decides by them.

        The checkpointer tells all sessions whether they wait, and reads the settings before it
        begins a checkpoint.
        """
        self._query(self.ports[0], "CHECKPOINT")

    def promote(self) -> None:
        """Take writes now.

        Raises:
            ServerFailed: it does not; another start tries again.
        """
        self.lead()
        lineage.configure(self._started(), {})
        self._promote(self.ports[0])

    # -- fencing

    def end_for_sure(self) -> None:
        """Return when no process works on this data any more; we hold its lock.

        Sessions outlive a killed server by up to a second, and acknowledge what they commit. Each
        has the lock's descriptor, so the lock can be taken anew when the last one has ended.

        Raises:
            DirectoryLocked: one cannot be ended.
        """
        self._lock.release()
        deadline = time.monotonic() + FENCE_TIMEOUT_S
        while True:
            for pid in _holding(self._folder / "lock"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                self._lock.acquire()
            except DirectoryLocked:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
            else:
                return

    @property
    def folder(self) -> Path:
        """The folder of its data."""
        return self._folder

    @property
    def is_ready(self) -> bool:
        """Whether it takes writes."""
        child = self._child
        return (
            self._leader is None
            and child is not None
            and child.is_running
            and child.has_said(READY)
        )

    def call_unfit(self, why: str) -> None:
        """Have its data made anew at the next start as a standby."""
        lineage.call_unfit(self._folder, why)

    def fence(self, why: str) -> None:
        """Mark the data, so that no server on it takes writes, and it is made anew."""
        self.call_unfit(why)
        lineage.follow(self._started())


def _holding(lock: Path) -> Iterator[int]:
    """Yield the processes that a dead server left, which have this file open."""
    servers = {
        process.pid: process
        for process in psutil.process_iter(["name", "ppid"])
        if process.info["name"] == "postgres"
    }
    for process in servers.values():
        if process.info["ppid"] in servers:
            continue  # its server lives; looking into each would take a while
        with contextlib.suppress(psutil.Error):
            if any(file.path == str(lock) for file in process.open_files()):
                yield process.pid


def _way_to(leader: PostgresNode) -> str:
    password = leader._started().passwords.superuser  # noqa: SLF001  # our own class
    return (
        f"host={HOST} port={leader.ports[0]} user={SUPERUSER} password={password}"
        f" application_name={STANDBY_NAME}"
    )
