"""Both servers and all roles on one machine: started side by side, kept up, stopped in order.

The supervisor starts processes and imports none of them. It starts a crashed role again. A server
that cannot be started again, because of a full disk for example, ends everything with the reason.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self

from core.errors import ConfigurationError
from standalone.kafka.broker import EmbeddedKafka
from standalone.kafka.cluster import EmbeddedCluster
from standalone.lit_html import place_of_lit_html
from standalone.ports import HOST, PortPlan
from standalone.postgres.pair import PostgresPair
from standalone.postgres.server import EmbeddedPostgres
from standalone.privacy import close_home
from standalone.processes.locking import DirectoryLock
from standalone.processes.supervised_process import ProcessState, SupervisedProcess
from standalone.remembered_roots import remember
from standalone.restore_note import check_whole
from standalone.supervision.migrating import MIGRATIONS, migrate
from standalone.supervision.plan import StandalonePlan
from standalone.supervision.role_keepers import LOADING_S, RoleKeepers
from standalone.supervision.roles import SharedConfiguration, common_environment
from standalone.supervision.server_keepers import ServerKeepers


class Supervisor:
    """Runs a plan. The end of its block stops everything, and so does `stop` from any thread.

    Args:
        plan: the archive to run.
        say: is called with messages for the person at the terminal, from several threads.
    """

    def __init__(self, plan: StandalonePlan, *, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._say = say
        self._home = plan.settings.home.resolve()
        self._lock = DirectoryLock(self._home / "lock", "the standalone mode")
        self._ports = PortPlan()
        self._servers = ServerKeepers(
            plan, self._home, ports=self._ports, say=say, give_up=self._give_up
        )
        self._roles = RoleKeepers(
            plan, self._home, ports=self._ports, say=say, give_up=self._give_up
        )
        self._step = ""
        self._ended = threading.Event()
        self._stopping = threading.Lock()
        self._reason = ""

    # -- start

    def __enter__(self) -> Self:
        """Close the home to others, and lock it.

        Raises:
            DirectoryLocked: another supervisor runs there; the message has its process and ports.
            HomeNotWhole: a restore was cut off there; the message says what to do.
        """
        close_home(self._home, self._say)
        self._lock.acquire()
        if not self._plan.restores:
            try:
                check_whole(self._home)
            except ConfigurationError:
                self._lock.release()
                raise
        remember(self._home, self._plan.archive_roots)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything side by side; return when the roles may use the servers.

        The roles load while the servers start and the schema is made; then all are released.

        Raises:
            ConfigurationError: a server cannot run here, a setting is invalid, or the home is of a
                version that cannot be upgraded; the message is one sentence.
            ServerFailed: schema or topics could not be made; the message has the output.
        """
        self._servers.start()
        self._roles.open()
        environment = self._early_environment()
        migrations = self._roles.process(MIGRATIONS, environment)
        migrations.start()
        try:
            roles = self._roles.planned()
            early = [role for role in roles if role.loads_first]
            waiting = partial(migrations.wait_until_loaded, LOADING_S)
            self._roles.start(early, environment, beside=[waiting])
            self._wait_for_servers()
            self._step = "the schema and the topics to be made"
            migrate(migrations, self._servers_environment())
        finally:
            migrations.kill()
            self._step = ""
        self._release()
        self._roles.start([role for role in roles if not role.loads_first], environment)

    def start_servers(self) -> None:
        """Start Kafka and PostgreSQL side by side and wait for both.

        Raises:
            ConfigurationError: one of them cannot run here; the message says why.
        """
        self._servers.start()
        self._wait_for_servers()

    def start_roles(self) -> None:
        """Start all roles on servers that are up; return at once. From now on each is kept up.

        Raises:
            PortTaken: there is no port for the ingress.
        """
        self._roles.open()
        self._release()
        self._roles.start(self._roles.planned(), self._early_environment())

    def _wait_for_servers(self) -> None:
        self._servers.wait_until_up(self.wait)
        self._describe()

    def _release(self) -> None:
        """Tell the processes where the servers are."""
        self._describe()
        self._roles.release(self._servers_environment())

    def _describe(self) -> None:
        """Write our ports into the lock file, for the message of a second start."""
        ports = filter(
            None, (*self._servers.ports, self._roles.port, *self._roles.metrics_ports.values())
        )
        self._lock.describe_owner(ports=", ".join(map(str, ports)))

    # -- while it runs

    @property
    def kafka(self) -> EmbeddedKafka | EmbeddedCluster:
        """The broker, or the cluster of them."""
        return self._servers.kafka

    @property
    def postgres(self) -> EmbeddedPostgres | PostgresPair:
        """The database: one server, or two of which one leads."""
        return self._servers.postgres

    @property
    def ingress_url(self) -> str:
        """The address of the ingress; its port is 0 before the start."""
        scheme = "https" if self._plan.certificate else "http"
        return f"{scheme}://{HOST}:{self._roles.port}"

    def ports(self) -> dict[str, str]:
        """Return where the processes listen, by their names, for a person."""
        of_metrics = {name: f"{port}/metrics" for name, port in self._roles.metrics_ports.items()}
        servers = {**self.kafka.brokers, "postgres": self.postgres}
        return {
            **{name: str(server.ports[0]) for name, server in servers.items() if server.ports},
            **of_metrics,
            "ingress": str(self._roles.port),
        }

    def environment(self) -> dict[str, str]:
        """Return what roles and commands need to reach the servers, which must be up."""
        return {**self._early_environment(), **self._servers_environment()}

    def _early_environment(self) -> dict[str, str]:
        shared = SharedConfiguration(
            home=self._home,
            ingress_port=self._roles.port or self._plan.settings.ingress_port,
            secrets_key=self._plan.secrets_key,
            archive_roots=self._plan.archive_roots,
            tagging_model=self._plan.model.model,
            lit_html=place_of_lit_html(self._plan.cache),
            brokers=self._plan.brokers,
        )
        return common_environment(shared, self._plan.inherited, self._plan.chosen)

    def _servers_environment(self) -> dict[str, str]:
        database = {"DATABASE_URL": self.postgres.url, "DATABASE_POOLER_URL": "none"}
        return {**database, **self.kafka.environment}

    def waits_for(self) -> str:
        """Return what a start waits for, for a person; empty where it waits for nothing more."""
        return self._servers.waits_for() or self._step

    def states(self) -> tuple[ProcessState, ...]:
        """Return the states of all processes, servers first."""
        return (*self._servers.states(), *self._roles.states())

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of everything; return False if time ran out.

        Raises:
            ConfigurationError: a server cannot be started again, or the model is refused; the
                message says why.
        """
        if not self._ended.wait(timeout_s):
            return False
        if self._reason:
            raise ConfigurationError(self._reason)
        return True

    def check(self) -> None:
        """Return while everything is on its way: for who waits for all of it.

        Raises:
            ConfigurationError: a process is not started again, or all was stopped; the message is
                the reason.
        """
        if self.wait(0.0):
            raise ConfigurationError("all was stopped")
        if self._roles.lost:
            raise ConfigurationError(self._roles.lost[0])

    def _give_up(self, reason: str) -> None:
        self._reason = reason
        self._ended.set()

    # -- stop

    def stop(self) -> None:
        """Stop the roles, so that they commit what they have begun; then stop the servers.

        May be called at any moment of the start and more than once, by any thread.
        """
        self._ended.set()
        roles = self._roles.close()
        with self._stopping:
            _stop_all(roles)
            self._roles.stop_listening()
            _stop_all(self._servers.all)
            self._lock.release()

    def kill(self) -> None:
        """Kill everything, at the second Ctrl-C. Nothing that was acknowledged is lost."""
        for keeper in (*self._roles.all, *self._servers.all):
            keeper.kill()


def _stop_all(keepers: Sequence[SupervisedProcess]) -> None:
    if keepers:
        with ThreadPoolExecutor(max_workers=len(keepers)) as pool:
            list(pool.map(SupervisedProcess.request_stop, keepers))
