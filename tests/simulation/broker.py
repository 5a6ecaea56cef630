"""Kafka as the loop sees it: logs, and the coordinator of one group by the eager protocol.

Two answers are one here (JoinGroup with SyncGroup), the leader assigns in no time; the rest is as
it is: generations, sessions, a join that ends when all have joined or the rebalance's time is up, a
commit that is refused to who is no member of the generation.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import BrokerAway
from core.offsets import Place
from schemas.record import Partition, Record
from tests.simulation.database import SimDatabase

SESSION_S = 10.0
REBALANCE_S = 60.0
LOOK_S = 1.0
ILLEGAL, REBALANCING, UNKNOWN = "illegal_generation", "rebalance_in_progress", "unknown_member"


@dataclass(slots=True)
class Joined:
    """What a join gave."""

    member_id: str
    generation: int
    partitions: tuple[Partition, ...]
    committed: dict[Partition, int]


@dataclass(slots=True)
class _Member:
    heard_at: float
    joining: "asyncio.Future[Joined] | None" = None


@dataclass(slots=True)
class SimLog:
    """Records by partition; None is an offset that is gone, below `start` all are."""

    records: dict[Partition, list[Record | None]] = field(default_factory=dict)
    start: dict[Partition, int] = field(default_factory=dict)

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """First offset, and the one after the last."""
        return self.start.get(partition, 0), len(self.records[partition])


class SimBroker:
    """Logs, published records and one consumer group.

    Attributes:
        published: values of the records that came back out of the loop.
        committed: the group's offsets.
        broken: what may never happen, as it was seen.
    """

    def __init__(self, log: SimLog, database: SimDatabase) -> None:
        self.log = log
        self.published: list[Record] = []
        self.committed: dict[Partition, int] = {}
        self.broken: list[str] = []
        self.generation = 0
        self.is_away = False
        self._database = database
        self._members: dict[str, _Member] = {}
        self._last_member = 0
        self._deadline: float | None = None

    def append(self, record: Record) -> Place:
        """Take a record into the log."""
        self.published.append(record)
        return Place(record.topic, 0, len(self.published) - 1)

    # --- the group

    async def watch(self) -> None:
        """End sessions that nobody keeps alive, and joins that take too long. For ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_S)
            if self.is_away:  # a restarted broker begins all sessions anew
                for member in self._members.values():
                    member.heard_at = loop.time()
                continue
            for member_id, member in list(self._members.items()):
                if member.joining is None and loop.time() - member.heard_at > SESSION_S:
                    self.leave(member_id)
            self._complete(is_late=self._deadline is not None and loop.time() > self._deadline)

    async def join(self, member_id: str) -> Joined:
        """Join or join again; answers when all members have."""
        loop = asyncio.get_running_loop()
        if member_id not in self._members:
            self._last_member += 1
            member_id = f"member-{self._last_member}"
        joining: asyncio.Future[Joined] = loop.create_future()
        self._members[member_id] = _Member(loop.time(), joining)
        self._rebalance()
        self._complete(is_late=False)
        return await joining

    def heartbeat(self, member_id: str, generation: int) -> str:
        """'' or what is wrong."""
        member = self._members.get(member_id)
        if member is None:
            return UNKNOWN
        member.heard_at = asyncio.get_running_loop().time()
        if generation != self.generation:
            return ILLEGAL
        return REBALANCING if self._deadline is not None else ""

    def commit(self, member_id: str, generation: int, offsets: Mapping[Partition, int]) -> str:
        """'' or what is wrong. Kafka's offsets must never be ahead of the database's."""
        wrong = self.heartbeat(member_id, generation)
        if wrong and wrong != REBALANCING:
            return wrong
        for partition, offset in offsets.items():
            row = self._database.rows.get(partition)
            start, _ = self.log.bounds(partition)
            if offset > (row.next_offset if row else start):
                self.broken.append(f"committed {partition} {offset} before {row}")
            self.committed[partition] = offset
        return ""

    def leave(self, member_id: str) -> bool:
        """Out of the group; whether it was in."""
        member = self._members.pop(member_id, None)
        if member is None:
            return False
        if member.joining is not None and not member.joining.done():
            member.joining.set_exception(BrokerAway("taken out of the group"))
        if self._members:
            self._rebalance()
            self._complete(is_late=False)
        else:
            self._deadline = None
        return True

    def _rebalance(self) -> None:
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + REBALANCE_S

    def _complete(self, *, is_late: bool) -> None:
        """Return everybody partitions, if everybody is there or there is no more waiting."""
        if self._deadline is None:
            return
        if any(member.joining is None for member in self._members.values()) and not is_late:
            return
        gone = [name for name, member in self._members.items() if member.joining is None]
        for name in gone:
            del self._members[name]
        self._deadline = None
        self.generation += 1
        shares = _range(sorted(self._members), sorted(self.log.records))
        for name, member in self._members.items():
            joining, member.joining = member.joining, None
            member.heard_at = asyncio.get_running_loop().time()
            committed = {p: self.committed[p] for p in shares[name] if p in self.committed}
            if joining is not None and not joining.done():
                joining.set_result(Joined(name, self.generation, shares[name], committed))
        self._database.note("generation", self.generation, *sorted(shares))


def _range(
    members: Sequence[str], partitions: Sequence[Partition]
) -> dict[str, tuple[Partition, ...]]:
    """Kafka's range assignor for one topic."""
    shares: dict[str, tuple[Partition, ...]] = {}
    start = 0
    for index, member in enumerate(members):
        size = len(partitions) // len(members) + (index < len(partitions) % len(members))
        shares[member] = tuple(partitions[start : start + size])
        start += size
    return shares
