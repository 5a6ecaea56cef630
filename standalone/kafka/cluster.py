"""Three brokers as one server: what clients know of them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from standalone.kafka.broker import Broker, BrokerFiles, EmbeddedKafka, complain, environment_of
from standalone.kafka.membership import ALONE, Membership
from standalone.ports import HOST, PortPlan


class EmbeddedCluster:
    """Brokers whose data lies in `home/kafka/1`, `2` and so on; any one of them may die.

    Each is started, stopped and kept up by itself. None is ready before most of them run, so they
    are started side by side.

    Args:
        home: folder of the standalone mode; made when missing.
        cache: folder of the jars and the AOT cache (`environment.cache_directory`).
        port: first port to try; the others are tried from there on.
        size: of how many brokers.
        plan: gives the ports.
        say: is called with messages for the person at the terminal, from several threads.
    """

    def __init__(
        self,
        home: Path,
        cache: Path,
        port: int,
        *,
        size: int,
        plan: PortPlan,
        say: Callable[[str], None] = complain,
    ) -> None:
        home = home.resolve()
        shared = self._shared = Membership(home, size, wanted_port=port, plan=plan)
        self.brokers: Mapping[str, Broker] = {
            f"kafka-{number}": Broker(
                shared,
                number,
                BrokerFiles(home / "logs" / f"kafka-{number}.log", cache.resolve()),
                say=say,
            )
            for number in range(1, size + 1)
        }

    @property
    def bootstrap(self) -> str:
        """`host:port` of each broker, separated by commas, whether or not it could be started."""
        return ",".join(f"{HOST}:{place.port}" for place in self._shared.choose_places())

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which clients find them and log in. They hold the password."""
        _, logins = self._shared.load()
        return environment_of(self.bootstrap, logins)

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that they listen on, the clients' port of each first."""
        return tuple(port for broker in self.brokers.values() for port in broker.ports)


def make_kafka(
    home: Path,
    cache: Path,
    port: int,
    *,
    size: int,
    plan: PortPlan,
    say: Callable[[str], None],
) -> EmbeddedKafka | EmbeddedCluster:
    """Return one broker, or a cluster of several."""
    if size == ALONE:
        return EmbeddedKafka(home, cache, port, plan=plan, say=say)
    return EmbeddedCluster(home, cache, port, size=size, plan=plan, say=say)
