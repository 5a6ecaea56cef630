"""The runtime's ports to Kafka in memory: a log, a member of a group, a publisher.

Each can be told to fail; none knows the loop. The database's doubles are those of tests/simulation.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import BrokerAway, PermanentError
from core.messaging.ports import Bounds, Dropped, Fetched, Listener, NotAMember, Sent, Stretch
from core.offsets import Identity, Place
from schemas.record import Partition, Record


@dataclass(slots=True)
class MemoryLog:
    """Partitions with their records; offsets are indices, None is an offset that is gone."""

    partitions: dict[Partition, list[Record | None]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def append(self, partition: Partition, *records: Record | None) -> None:
        self.partitions[partition] += records


def stretch_of(log: Sequence[Record | None], start: int, count: int) -> Stretch | None:
    """Return the log's next records with what lies between and behind them; None at its end."""
    found: list[Fetched] = []
    end = start
    while end < len(log) and len(found) < count:
        record = log[end]
        if record is not None:
            found.append((end, 1000 + end, record))
        end += 1
    return Stretch(start, end, found) if end > start else None


class MemoryPublisher:
    """Published records, and what is refused or away."""

    def __init__(self) -> None:
        self.published: list[Record] = []
        self.away = 0
        self.refused_topics: set[str] = set()
        self.away_topics: set[str] = set()

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        if self.away:
            self.away -= 1
            return [BrokerAway("away")] * len(records)
        return [self._publish(record) for record in records]

    def _publish(self, record: Record) -> Sent:
        if record.topic in self.refused_topics:
            return PermanentError("too large", reason="kafka_refused")
        if record.topic in self.away_topics:
            return BrokerAway("no leader")
        self.published.append(record)
        return Place(record.topic, 0, len(self.published) - 1)


class MemoryGroupClient:
    """A member of a group with the manners of aiokafka.

    A fetch moves the position when it is asked, not when it answers; a stale member's proof is
    refused; `assignment` still has the old partitions between revoke and assign.
    """

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.listener: Listener | None = None
        self.is_member = True
        self.positions: dict[Partition, int] = {}
        self.committed: dict[Partition, int] = {}
        self.proofs: list[Mapping[Partition, int]] = []
        self.fetch_latency_s = 0.0
        self.drops = 0  # so many fetches lose what they have found
        self.start_failures = 0
        self.stopped = False
        self.bounds_away = False
        self.identity = Identity("cluster", "topic")

    @property
    def member_id(self) -> str:
        return "member-1" if self.listener else ""

    async def start(self, listener: Listener) -> Identity:
        if self.start_failures:
            self.start_failures -= 1
            raise BrokerAway("no broker")
        self.listener = listener
        await self.rebalance(self.log.partitions)
        return self.identity

    async def identify(self) -> Identity:
        return self.identity

    async def rebalance(self, partitions: Iterable[Partition]) -> None:
        """All are taken, then these are given."""
        if self.listener is None:
            raise RuntimeError("not started")
        await self.listener.on_revoked()
        self.positions = dict.fromkeys(partitions, 0)
        self.listener.on_assigned(list(self.positions))

    async def stop(self) -> None:
        self.stopped = True

    async def fetch(
        self, partitions: Iterable[Partition], *, max_records: int, timeout_s: float
    ) -> list[tuple[Partition, Stretch]]:
        found: list[tuple[Partition, Stretch]] = []
        for partition in partitions:
            stretch = self._from(partition, max_records)
            if stretch is not None:
                self.positions[partition] = stretch.end
                found.append((partition, stretch))
        if found and self.drops:
            self.drops -= 1
            raise Dropped("no thread")
        await asyncio.sleep(self.fetch_latency_s if found else min(timeout_s, 0.002))
        return found

    def _from(self, partition: Partition, max_records: int) -> Stretch | None:
        log, start = self.log.partitions[partition], self.positions.get(partition)
        return None if start is None else stretch_of(log, start, max_records)

    def seek(self, partition: Partition, offset: int) -> None:
        if partition not in self.positions:
            raise NotAMember(str(partition))
        self.positions[partition] = offset

    async def prove(self, offsets: Mapping[Partition, int]) -> None:
        await asyncio.sleep(0)
        if not self.is_member:
            raise NotAMember("expelled")
        self.proofs.append(dict(offsets))
        self.committed |= offsets

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        self.committed |= offsets

    async def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        if self.bounds_away:
            raise BrokerAway("bounds")
        ends = {p: len(self.log.partitions[p]) for p in partitions}
        return {p: Bounds(0, end, end) for p, end in ends.items()}
