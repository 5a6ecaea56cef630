"""What the brokers of one cluster have in common: its id, its logins, and the ports of all."""

import threading
from collections.abc import Sequence
from pathlib import Path

from standalone.kafka.certificate import make_certificate
from standalone.kafka.data_directory import BrokerPlace, is_formatted, load_cluster_id
from standalone.kafka.logins import Logins, load_logins
from standalone.ports import HOST, PortPlan

#: One broker, or as many as it takes for one to die: two of them keep each record and elect.
ALONE, CLUSTER = 1, 3
SIZES = (ALONE, CLUSTER)


def folders_of(home: Path, size: int) -> tuple[Path, ...]:
    """Return the folders of the brokers of a home: one has no folder of its own in `kafka`."""
    folder = home / "kafka"
    if size == ALONE:
        return (folder,)
    return tuple(folder / str(node_id) for node_id in range(1, size + 1))


def size_of(home: Path) -> int | None:
    """Return with how many brokers a home was made; None: it has no records yet."""
    for size in SIZES:
        if any(map(is_formatted, folders_of(home, size))):
            return size
    return None


class Membership:
    """A cluster of one broker or several. Any thread may ask.

    Attributes:
        folders: of its brokers.
        places: of its brokers; none before `choose_places`.
        certificate: of its controllers; None for one broker, and before `load`.
        records: whether Java's cache may still be recorded in this run.

    Args:
        home: folder of the standalone mode.
        size: of how many brokers it is.
        wanted_port: first port to try; the controllers' are tried from the one above it.
        plan: gives the ports.
    """

    def __init__(self, home: Path, size: int, *, wanted_port: int, plan: PortPlan) -> None:
        self.folders: Sequence[Path] = folders_of(home, size)
        self._shared = home / "kafka"
        self.wanted_port = wanted_port
        self._plan = plan
        self._loading = threading.Lock()
        self.places: tuple[BrokerPlace, ...] = ()
        self.certificate: Path | None = None
        self.records = True

    @property
    def size(self) -> int:
        """Of how many brokers it is."""
        return len(self.folders)

    def beside(self, home: Path) -> "Membership":
        """Return a broker alone for scratch data in `home`, whose ports none of ours is given."""
        return Membership(home, ALONE, wanted_port=self.wanted_port, plan=self._plan)

    def load(self) -> tuple[str, Logins]:
        """Return the cluster's id and its logins; the first start makes them.

        Raises:
            NotSupported: there is data, but its id is gone.
        """
        with self._loading:
            self._shared.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.size > ALONE and self.certificate is None:
                self.certificate = make_certificate(self._shared, HOST)
            return load_cluster_id(self._shared, self.folders), load_logins(self._shared)

    def choose_places(self) -> tuple[BrokerPlace, ...]:
        """Return the places of all brokers, their ports chosen.

        The ports of a cluster are chosen once, before its first broker starts, since each one
        names all voters. A broker alone chooses anew where somebody was faster.

        Raises:
            PortTaken: none is free.
        """
        with self._loading:
            if not self.places or self.size == ALONE:
                self.places = tuple(self._choose(number) for number in range(1, self.size + 1))
            return self.places

    def _choose(self, node_id: int) -> BrokerPlace:
        port = self._plan.choose(self.wanted_port)
        return BrokerPlace(node_id, port, self._plan.choose(port + 1))
