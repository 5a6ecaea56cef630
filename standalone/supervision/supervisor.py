"""Both servers and all roles on one machine: started in order, kept up, stopped in order.

The supervisor starts processes and imports none of them. It starts a crashed role again. A server
that cannot be started again, because of a full disk for example, ends everything with the reason.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from core.errors import ConfigurationError
from core.settings import StandaloneSettings
from standalone.failures import ServerFailed
from standalone.kafka.broker import EmbeddedKafka
from standalone.ports import HOST, choose_port
from standalone.postgres.server import EmbeddedPostgres
from standalone.processes.child_process import guarded
from standalone.processes.locking import DirectoryLock
from standalone.processes.policy import CONFIGURATION_EXIT
from standalone.processes.supervised_process import ProcessState, SupervisedProcess
from standalone.remembered_roots import remember
from standalone.supervision.model_choice import DEMO_MODEL, ModelChoice
from standalone.supervision.role_process import RoleProcess
from standalone.supervision.roles import (
    ProcessSpec,
    SharedConfiguration,
    all_roles,
    common_environment,
    role_environment,
)

PROJECT = Path(__file__).parents[2]
MIGRATIONS_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StandalonePlan:
    """The archive to run.

    Attributes:
        settings: those of the standalone mode.
        cache: the folder of jars and AOT caches.
        model: the model that the tagging processes load.
        secrets_key: the value of `SECRETS_KEY`.
        archive_roots: the value of `ARCHIVE_ROOTS`.
        watched: a folder whose new photos are announced; None: none.
        inherited: variables that all processes get beside those of the plan.
        chosen: the settings that the user has set.
        roles: the processes to run; those of the project when omitted.
    """

    settings: StandaloneSettings
    cache: Path
    model: ModelChoice
    secrets_key: str
    archive_roots: str
    inherited: Mapping[str, str]
    chosen: frozenset[str] = frozenset()
    watched: Path | None = None
    roles: tuple[ProcessSpec, ...] | None = None


class Supervisor:
    """Runs a plan. The end of its block stops everything.

    Args:
        plan: the archive to run.
        say: is called with messages for the person at the terminal, from several threads.
    """

    def __init__(self, plan: StandalonePlan, *, say: Callable[[str], None]) -> None:
        settings = plan.settings
        self._plan = plan
        self._say = say
        self._home = settings.home.resolve()
        self._lock = DirectoryLock(self._home / "lock", "the standalone mode")
        self._postgres = EmbeddedPostgres(self._home, settings.postgres_port)
        self._kafka = EmbeddedKafka(self._home, plan.cache, settings.kafka_port)
        self._servers = tuple(
            SupervisedProcess(name, server, say=say, failed=self._give_up)
            for name, server in (("kafka", self._kafka), ("postgres", self._postgres))
        )
        self._roles: dict[str, SupervisedProcess] = {}
        self._ingress_port = 0
        self._ports_given: set[int] = set()
        self._ended = threading.Event()
        self._reason = ""

    # -- start

    def __enter__(self) -> Self:
        """Lock the home.

        Raises:
            DirectoryLocked: another supervisor runs there; the message has its process and ports.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        remember(self._home, self._plan.archive_roots)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start_servers(self) -> None:
        """Start Kafka and PostgreSQL side by side and wait for both.

        Raises:
            ConfigurationError: one of them cannot run here; the message says why.
        """
        for keeper in self._servers:
            keeper.start()
        for keeper in self._servers:
            keeper.wait_until_up()
        self._describe()

    def migrate(self) -> None:
        """Bring schema and topics up to date.

        Raises:
            ConfigurationError: a setting is invalid, or the home is of a version that cannot be
                upgraded; the message is one sentence.
            ServerFailed: it failed; the message has its output.
        """
        command = guarded([sys.executable, "-m", "migrations"])
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=MIGRATIONS_TIMEOUT_S,
            check=False,
        )
        said = (done.stdout + done.stderr).strip()
        if done.returncode == CONFIGURATION_EXIT:
            # Its last line; libraries may have logged before it.
            sentence = done.stderr.strip().rpartition("\n")[2]
            raise ConfigurationError(sentence.removeprefix("configuration: "))
        if done.returncode:
            raise ServerFailed(f"python -m migrations ended with {done.returncode}:\n{said}")

    def start_roles(self) -> None:
        """Start all roles; return at once. From now on each is kept up."""
        self._ingress_port = self._next_port(self._plan.settings.ingress_port)
        self._describe()
        roles = self._plan.roles
        if roles is None:
            roles = all_roles(self._plan.settings.tagging_processes, self._plan.watched)
        for role in roles:
            self._start_role(role, role_environment(role, self.environment(), self._metrics_port))

    def _start_role(self, role: ProcessSpec, environment: Mapping[str, str]) -> None:
        log = self._home / "logs" / f"{role.name}.log"
        process = RoleProcess(role, environment, log=log, directory=PROJECT)

        def failed(reason: str) -> None:
            del reason  # it was said at the terminal
            self._fall_back(role, environment)

        keeper = SupervisedProcess(role.name, process, say=self._say, failed=failed)
        self._roles[role.name] = keeper
        keeper.start()

    def _fall_back(self, role: ProcessSpec, environment: Mapping[str, str]) -> None:
        """Tag with the bundled model where the weights could not be downloaded."""
        downloads = self._plan.model.may_fail and role.argv[-1] == "tagging"
        if not downloads or environment["TAGGING_MODEL"] == DEMO_MODEL or self._ended.is_set():
            return
        self._say(f"{role.name}: goes on with the bundled demo model")
        self._start_role(role, {**environment, "TAGGING_MODEL": DEMO_MODEL})

    def _metrics_port(self) -> int:
        return self._next_port(self._plan.settings.metrics_port)

    def _next_port(self, wanted: int) -> int:
        taken = {*self._ports_given, *self._kafka.ports, *self._postgres.ports}
        port = choose_port(wanted, avoid=taken)
        self._ports_given.add(port)
        return port

    def _describe(self) -> None:
        """Write our ports into the lock file, for the message of a second start."""
        ports = [*self._kafka.ports, *self._postgres.ports]
        if self._ingress_port:
            ports.append(self._ingress_port)
        self._lock.describe_owner(ports=", ".join(map(str, ports)))

    # -- while it runs

    @property
    def kafka(self) -> EmbeddedKafka:
        """The broker."""
        return self._kafka

    @property
    def postgres(self) -> EmbeddedPostgres:
        """The database."""
        return self._postgres

    @property
    def ingress_url(self) -> str:
        """The address of the ingress; its port is 0 before `start_roles`."""
        return f"http://{HOST}:{self._ingress_port}"

    def environment(self) -> dict[str, str]:
        """Return what roles and commands need to reach the servers, which must be up."""
        shared = SharedConfiguration(
            home=self._home,
            database_url=self._postgres.url,
            bootstrap=self._kafka.bootstrap,
            ingress_port=self._ingress_port or self._plan.settings.ingress_port,
            secrets_key=self._plan.secrets_key,
            archive_roots=self._plan.archive_roots,
            tagging_model=self._plan.model.model,
        )
        return common_environment(shared, self._plan.inherited, self._plan.chosen)

    def states(self) -> tuple[ProcessState, ...]:
        """Return the states of all processes, servers first."""
        return tuple(keeper.state() for keeper in (*self._servers, *self._roles.values()))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of everything; return False if time ran out.

        Raises:
            ConfigurationError: a server cannot be started again; the message says why.
        """
        if not self._ended.wait(timeout_s):
            return False
        if self._reason:
            raise ConfigurationError(self._reason)
        return True

    def _give_up(self, reason: str) -> None:
        self._reason = reason
        self._ended.set()

    # -- stop

    def stop(self) -> None:
        """Stop the roles, so that they commit what they have begun; then stop the servers."""
        self._ended.set()
        _stop_all(tuple(self._roles.values()))
        _stop_all(self._servers)
        self._lock.release()

    def kill(self) -> None:
        """Kill everything, at the second Ctrl-C. Nothing that was acknowledged is lost."""
        for keeper in (*self._roles.values(), *self._servers):
            keeper.kill()


def _stop_all(keepers: Sequence[SupervisedProcess]) -> None:
    if keepers:
        with ThreadPoolExecutor(max_workers=len(keepers)) as pool:
            list(pool.map(SupervisedProcess.request_stop, keepers))
