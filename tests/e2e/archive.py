"""The whole archive as processes on this machine, for tests: servers, roles and an API key.

The supervisor starts it as `make up` does, in a temporary home on free loopback ports. All its
processes end with the test process, even when that is killed.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from core.messaging.kafka.connection import login_options
from core.settings import StandaloneSettings
from schemas.topics import plan_topics
from standalone.demo.archive_client import ArchiveClient
from standalone.demo.kept_keys import Credentials, credentials
from standalone.environment import cache_directory, inherited
from standalone.kafka.broker import EmbeddedKafka
from standalone.kafka.cluster import EmbeddedCluster
from standalone.processes.supervised_process import SupervisedProcess
from standalone.supervision.model_choice import ModelChoice
from standalone.supervision.plan import StandalonePlan
from standalone.supervision.planning import _secrets_key, allow
from standalone.supervision.role_keepers import PROJECT
from standalone.supervision.roles import ProcessSpec
from standalone.supervision.supervisor import Supervisor
from tests.command import COMMAND
from tests.servers import PORTS_PER_SESSION, first_port, make_home, run_apart, settings_of

READY_TIMEOUT_S = 180.0  # torch from a cold disk, on a busy machine
COMMAND_TIMEOUT_S = 120.0
RECOVERY_S = 30.0
RECOVERING = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.CrashShutdownError,
)
POLL_S = 0.05
#: Set this variable to try another model, such as `local-dir:FOLDER`.
MODEL_VARIABLE = "TEST_MODEL"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OnTopic:
    """One record as it is on a topic; header names as they were sent."""

    partition: int
    offset: int
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    value: bytes

    def header(self, name: str) -> str:
        """Return the first header of this name as text; empty where there is none."""
        return next((value.decode() for key, value in self.headers if key == name), "")


@dataclass(slots=True)
class RunningArchive:
    """A running archive.

    Attributes:
        home: its data and logs.
        photos: folder of the root named `photos`; tests put files there.
        access: key and signing secret of an owner with the scopes upload, query, read, paths.
        http: a client that sends that key.
    """

    supervisor: Supervisor
    home: Path
    photos: Path
    access: Credentials
    http: httpx.Client
    said: list[str] = field(default_factory=list)

    @property
    def database_url(self) -> str:
        """Return the DSN of its database."""
        return self.supervisor.postgres.url

    @property
    def bootstrap(self) -> str:
        """Return `host:port` of its broker; of several separated by commas."""
        return self.supervisor.kafka.bootstrap

    # -- the processes

    def pids(self) -> dict[str, int]:
        """Return process ids by name; 0 for one that is down."""
        return {state.name: state.pid for state in self.supervisor.states()}

    def memory_mib(self) -> dict[str, float]:
        """Return the memory of each process with its children, in MiB."""
        return {
            state.name: round(state.memory_bytes / 2**20, 1) for state in self.supervisor.states()
        }

    def kill(self, name: str) -> int:
        """Kill a process by SIGKILL, which the supervisor starts again; return its pid."""
        pid = self.wait_for(lambda: self.pids()[name], timeout_s=60, what=f"{name} is down")
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_until_restarted(self, name: str, old_pid: int, timeout_s: float = 60.0) -> None:
        """Wait until a new process has taken its place."""
        self.wait_for(
            lambda: self.pids()[name] not in {0, old_pid}, timeout_s, f"{name} was not restarted"
        )

    @contextmanager
    def broker_away(self) -> Iterator[None]:
        """Kill Kafka by SIGKILL; start it on the same port when the block ends."""
        (broker,) = self.supervisor.kafka.brokers.values()
        self._keeper("kafka").kill()
        broker.wait(timeout_s=30)
        try:
            yield
        finally:
            broker.start()

    def _keeper(self, name: str) -> SupervisedProcess:
        return next(keeper for keeper in self.supervisor._servers.all if keeper.name == name)

    def command(
        self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run `photo-archive` with these arguments, as an operator would while the roles run."""
        return self.run(COMMAND, *arguments, timeout_s=timeout_s)

    def run(
        self, *command: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with the environment of the roles."""
        return subprocess.run(
            command,
            cwd=PROJECT,
            env={**self.supervisor.environment(), "COLUMNS": "160"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @staticmethod
    def json_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
        """Return what a command with `--json` printed."""
        assert done.returncode == 0, done.stderr
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed

    def stranger(self) -> httpx.Client:
        """Return a client without a key that opens a connection for each request."""
        limits = httpx.Limits(max_keepalive_connections=0)
        url = self.supervisor.ingress_url
        return httpx.Client(base_url=url, timeout=60, trust_env=False, limits=limits)

    def log(self, name: str, lines: int = 30) -> str:
        """Return the last lines of a process's log."""
        path = self.home / "logs" / f"{name}.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    # -- what it holds

    def sql(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement on its database; retry while PostgreSQL recovers from a crash."""
        deadline = time.monotonic() + RECOVERY_S
        while True:
            try:
                return run_apart(_fetch(self.database_url, statement, arguments))
            except (OSError, *RECOVERING):
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def value(self, statement: str, *arguments: object) -> Any:
        """Return the first column of the first row."""
        return self.sql(statement, *arguments)[0][0]

    def topic(self, name: str) -> list[OnTopic]:
        """Return all records of a topic, partition by partition."""
        return run_apart(_read_topic(self.supervisor.kafka, name))

    # -- waiting

    def wait_for(self, probe: Callable[[], T], timeout_s: float, what: str) -> T:
        """Call repeatedly until the result is true; return it.

        Raises:
            AssertionError: it was not true in time; the message has the last lines of all logs.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            answer = probe()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} (waited {timeout_s:.0f} s)\n{self.account()}")
            time.sleep(POLL_S)

    def account(self) -> str:
        """Return the states of the processes and the last lines of their logs."""
        parts = [*self.said[-10:], str(self.pids())]
        parts += [
            f"--- {name}\n{self.log(name, 8)}" for name in self.pids() if name[0] not in {"k", "p"}
        ]
        return "\n".join(parts)

    def tags_of(self, image_id: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until an image is tagged or has failed; return it."""

        def settled() -> dict[str, Any] | None:
            response = self.http.get(f"/images/{image_id}")
            image: dict[str, Any] = response.json() if response.status_code == 200 else {}
            return image if image.get("status") in {"tagged", "failed"} else None

        return self.wait_for(settled, timeout_s, f"image {image_id} was not tagged") or {}


@contextmanager
def running_archive(
    name: str,
    settings: Mapping[str, str] | None = None,
    roots: Mapping[str, Path] | None = None,
    roles: tuple[ProcessSpec, ...] | None = None,
    brokers: int = 1,
    *,
    standby: bool = False,
) -> Iterator[RunningArchive]:
    """Start the whole archive; stop it when the block ends.

    Args:
        name: part of its temporary home's name.
        settings: further environment variables of the roles.
        roots: further allowed roots.
        roles: the processes to start; None: one of each.
        brokers: of how many brokers Kafka is.
        standby: whether PostgreSQL has one.
    """
    home = make_home(name)
    photos = home / "photos"
    photos.mkdir()
    try:
        with archive_at(home, photos, settings, roots, roles, brokers, standby=standby) as started:
            yield started
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def archive_at(
    home: Path,
    photos: Path,
    settings: Mapping[str, str] | None = None,
    roots: Mapping[str, Path] | None = None,
    roles: tuple[ProcessSpec, ...] | None = None,
    brokers: int = 1,
    *,
    standby: bool = False,
) -> Iterator[RunningArchive]:
    """Start the archive of a home, which may have data; stop it when the block ends.

    Args:
        home: of the archive; stays.
        photos: the folder of the root named `photos`.
        settings: as for `running_archive`, and the others too.
    """
    said: list[str] = []
    plan = plan_at(home, photos, settings or {})
    plan = replace(plan, roles=roles, brokers=brokers, standby=standby)
    for root, folder in (roots or {}).items():
        plan = allow(plan, folder, root)
    with Supervisor(plan, say=said.append) as supervisor:
        yield from _started(supervisor, home, photos, said)


def _started(
    supervisor: Supervisor, home: Path, photos: Path, said: list[str]
) -> Iterator[RunningArchive]:
    supervisor.start()
    access = credentials(home, supervisor.environment())
    with (
        ArchiveClient(supervisor.ingress_url, access.key) as waiting,
        httpx.Client(
            base_url=supervisor.ingress_url,
            headers={"X-API-Key": access.key},
            timeout=60,
            trust_env=False,
        ) as http,
    ):
        waiting.wait_until_ready(READY_TIMEOUT_S)
        archive = RunningArchive(supervisor, home, photos, access, http, said)
        if any(state.name.startswith("tagging") for state in supervisor.states()):
            # Tests have time limits for tagging, not for the loading of torch on a busy machine.
            archive.wait_for(
                lambda: http.get("/health").json()["loaded_models"], READY_TIMEOUT_S, "no model"
            )
        yield archive


def plan_at(home: Path, photos: Path, settings: Mapping[str, str]) -> StandalonePlan:
    """Return the plan of an archive; its key is the home's, where that has one."""
    port = first_port() + 2 * PORTS_PER_SESSION
    # Every photo has tags, as with other models; what the bundled one does alone has its own tests.
    told = {"TAGGING_SCORING": "softmax", **settings}
    return StandalonePlan(
        settings=StandaloneSettings(
            home=home,
            kafka_port=port,
            postgres_port=port + 2,
            ingress_port=port + 3,
            metrics_port=port + 4,
        ),
        cache=cache_directory(home),
        model=ModelChoice(os.environ.get(MODEL_VARIABLE, "demo"), "for tests"),
        secrets_key=_secrets_key(home),
        archive_roots=f"photos={photos}",
        inherited={**inherited(), **told},
        chosen=frozenset(told),
    )


async def _fetch(url: str, statement: str, arguments: Sequence[object]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        return rows
    finally:
        await connection.close()


async def _read_topic(server: EmbeddedKafka | EmbeddedCluster, name: str) -> list[OnTopic]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=server.bootstrap,
        auto_offset_reset="earliest",
        **login_options(settings_of(server)),
    )
    await consumer.start()
    try:
        (count,) = (plan.partitions for plan in plan_topics() if plan.name == name)
        places = [TopicPartition(name, number) for number in range(count)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        for place in places:
            await consumer.seek_to_beginning(place)
        found: list[OnTopic] = []
        async with asyncio.timeout(60):
            while any([await consumer.position(place) < ends[place] for place in places]):
                for place, records in (await consumer.getmany(timeout_ms=200)).items():
                    found += [_on_topic(place.partition, record) for record in records]
        return sorted(found, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()


def _on_topic(partition: int, record: Any) -> OnTopic:
    return OnTopic(partition, record.offset, record.key, tuple(record.headers), record.value or b"")
