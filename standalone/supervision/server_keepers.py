"""Kafka and PostgreSQL, each server kept up: when they are enough, and when they never will be."""

from collections.abc import Callable
from pathlib import Path

from core.errors import ConfigurationError
from standalone.kafka.broker import EmbeddedKafka
from standalone.kafka.cluster import EmbeddedCluster, make_kafka
from standalone.kafka.data_directory import in_sync, is_formatted
from standalone.kafka.membership import ALONE, folders_of
from standalone.ports import PortPlan
from standalone.postgres.pair import PostgresPair
from standalone.postgres.server import EmbeddedPostgres
from standalone.processes.policy import LONGEST_SERVING_DELAY_S, LOOP_FROM
from standalone.processes.supervised_process import ProcessState, Status, SupervisedProcess
from standalone.supervision.plan import StandalonePlan

POLL_S = 0.05


class ServerKeepers:
    """Keeps the servers of a plan up, side by side.

    Args:
        plan: the archive that they serve.
        home: its folder, resolved.
        ports: gives the ports.
        say: is called with messages for the person at the terminal, from several threads.
        give_up: is called with the reason when too few of them go on.
    """

    def __init__(
        self,
        plan: StandalonePlan,
        home: Path,
        *,
        ports: PortPlan,
        say: Callable[[str], None],
        give_up: Callable[[str], None],
    ) -> None:
        self._home = home
        self._say = say
        self._give_up = give_up
        self.postgres: EmbeddedPostgres | PostgresPair
        self._followers: tuple[SupervisedProcess, ...] = ()
        port = plan.settings.postgres_port
        if plan.standby:
            self.postgres = pair = PostgresPair(home, port, plan=ports, say=say)
            # Nobody waits for it: it is made from the primary, which serves meanwhile.
            self._followers = (
                SupervisedProcess(
                    "standby", pair.follower, say=say, longest_delay_s=LONGEST_SERVING_DELAY_S
                ),
            )
        else:
            self.postgres = EmbeddedPostgres(home, port, plan=ports)
        self.kafka: EmbeddedKafka | EmbeddedCluster = make_kafka(
            home, plan.cache, plan.settings.kafka_port, size=plan.brokers, plan=ports, say=say
        )
        servers = tuple(
            SupervisedProcess(
                name,
                server,
                say=say,
                failed=self._server_failed,
                longest_delay_s=LONGEST_SERVING_DELAY_S,
            )
            for name, server in {**self.kafka.brokers, "postgres": self.postgres}.items()
        )
        self._brokers, self._primary = servers[:-1], servers[-1]
        self._needed = len(self._brokers)

    @property
    def all(self) -> tuple[SupervisedProcess, ...]:
        """The keepers of the brokers, of PostgreSQL, and of its standby where it has one."""
        return (*self._brokers, self._primary, *self._followers)

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of all servers."""
        return (*self.kafka.ports, *self.postgres.ports)

    def states(self) -> tuple[ProcessState, ...]:
        """Return the states of all servers."""
        return tuple(keeper.state() for keeper in self.all)

    def waits_for(self) -> str:
        """Return which servers are not up yet, for a person; empty where all are."""
        away = [one.state() for one in (*self._brokers, self._primary)]
        return " and ".join(_described(one) for one in away if one.status is not Status.RUNNING)

    def start(self) -> None:
        """Begin with all; return at once."""
        size = len(self._brokers)
        # The first start needs all: topics are made with a copy on each.
        is_made = all(map(is_formatted, folders_of(self._home, size)))
        self._needed = in_sync(size) if is_made else size
        for keeper in self.all:
            keeper.start()

    def wait_until_up(self, has_ended: Callable[[float], bool]) -> None:
        """Wait until PostgreSQL is up, and all brokers are, or enough without those that fail.

        Args:
            has_ended: waits so many seconds for the end of everything, and tells whether it came.

        Raises:
            ConfigurationError: too few of them can be started here; the message says why.
        """
        while not self._are_up():
            self._check_hope()
            if has_ended(POLL_S):
                raise ConfigurationError("the servers were stopped")
        if away := [one for one in self._brokers if one.status is not Status.RUNNING]:
            self._say(f"Kafka goes on without {_names(away)}: one of its brokers may be away")

    def _are_up(self) -> bool:
        # A broker that only takes longer is waited for: it, too, gets what a new version brings.
        running = sum(one.status is Status.RUNNING for one in self._brokers)
        others = [one for one in self._brokers if one.status is not Status.RUNNING]
        return (
            self._primary.status is Status.RUNNING
            and running >= self._needed
            and all(one.failures or one.status is Status.FAILED for one in others)
        )

    def _check_hope(self) -> None:
        """Raise the reasons where too few can still come up."""
        lost = [one for one in self._brokers if _is_lost(one, is_alone=len(self._brokers) == ALONE)]
        if len(self._brokers) - len(lost) < self._needed:
            raise ConfigurationError("; ".join(_reason(one) for one in lost))
        if self._primary.status in {Status.FAILED, Status.STOPPED}:
            raise ConfigurationError(_reason(self._primary))

    def _server_failed(self, reason: str) -> None:
        """End everything, unless enough brokers go on without the one that failed for good."""
        left = sum(one.status is not Status.FAILED for one in self._brokers)
        if left < in_sync(len(self._brokers)) or self._primary.status is Status.FAILED:
            self._give_up(reason)


def _is_lost(keeper: SupervisedProcess, *, is_alone: bool) -> bool:
    """Return whether a broker will hardly come up: one of several that dies again and again."""
    if keeper.status in {Status.FAILED, Status.STOPPED}:
        return True
    return not is_alone and keeper.status is not Status.RUNNING and keeper.failures >= LOOP_FROM


def _reason(keeper: SupervisedProcess) -> str:
    state = keeper.state()
    if state.status in {Status.FAILED, Status.STOPPED}:
        return state.problem or f"{keeper.name} was stopped"
    return f"{state.problem} (logs/{keeper.name}.log)"


def _described(state: ProcessState) -> str:
    return f"{state.name} (try {state.restarts + 1})" if state.restarts else state.name


def _names(keepers: list[SupervisedProcess]) -> str:
    return " and ".join(keeper.name for keeper in keepers)
