"""Membership in a consumer group, as the loop sees it. No aiokafka here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from core.errors import BrokerAway, TransientError
from schemas.record import Partition, Record


@dataclass(frozen=True, slots=True)
class Identity:
    """The cluster's id and the topic's id; the latter is empty if the broker is too old to tell."""

    cluster_id: str
    topic_id: str


class NotAMember(BrokerAway):
    """The broker does not take us for the owner of these partitions (any more)."""


class OutOfLog(BrokerAway):
    """The log no longer has, or does not yet have, the offset that was asked for."""

    def __init__(self, partitions: Sequence[Partition]) -> None:
        super().__init__(f"offset out of range: {partitions}")
        self.partitions = partitions


class Garbled(TransientError):
    """The client cannot read what it fetched: a broken batch, a header name that is no UTF-8."""


#: Offset, timestamp in ms, and the record. A bare tuple: it lives from the client to the queue.
Fetched: TypeAlias = tuple[int, int, Record]


class Listener(Protocol):
    """Who is told of rebalances."""

    async def on_revoked(self) -> None:
        """All partitions go; they are still ours until this returns."""
        ...

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        """These partitions came. Must return at once: no heartbeat is sent meanwhile."""
        ...


class GroupClient(Protocol):
    """Membership, fetching and the advisory commit."""

    @property
    def member_id(self) -> str:
        """The broker's name for this member; '' before the first join."""
        ...

    async def start(self, listener: Listener) -> Identity:
        """Join; raises BrokerAway and may be called again."""
        ...

    async def stop(self) -> None:
        """Leave, in bounded time."""
        ...

    async def fetch(
        self, partitions: Iterable[Partition], *, max_records: int, timeout_s: float
    ) -> list[tuple[Partition, list[Fetched]]]:
        """Return what is there; with no partitions only wait and look for errors."""
        ...

    def seek(self, partition: Partition, offset: int) -> None:
        """Fetch from here on; NotAMember if the partition is gone."""
        ...

    async def prove(self, offsets: Mapping[Partition, int]) -> None:
        """Commit as a proof of membership; NotAMember or BrokerAway."""
        ...

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit what is still assigned, advisory; BrokerAway."""
        ...

    async def identify(self) -> Identity:
        """Who the cluster and the topic are at this moment; BrokerAway."""
        ...

    async def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """First offset of each log and the one after its last; BrokerAway."""
        ...
