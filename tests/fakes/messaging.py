"""The runtime's ports in memory: a log, a group, a ledger, an outbox, a publisher.

Each can be told to fail; none knows the loop. The ledger and the outbox share a `MemoryDatabase`,
whose transactions are all or nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from core.errors import BrokerAway, DatabaseAway, PermanentError
from core.messaging.membership import Fetched, Identity, Listener, NotAMember
from core.messaging.ports import Bid, DeadLetter, Move, Place, Sent, Waiting
from core.transaction import Transaction
from schemas.record import Partition, Record


@dataclass(slots=True)
class MemoryLog:
    """Partitions with their records; offsets are indices, None is an offset that is gone."""

    partitions: dict[Partition, list[Record | None]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def append(self, partition: Partition, *records: Record | None) -> None:
        self.partitions[partition] += records


@dataclass(slots=True)
class MemoryTransaction:
    """Writes that wait for their commit. Statements are remembered with their arguments."""

    on_commit: list[Callable[[], None]] = field(default_factory=list)
    executed: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    async def execute(self, query: str, *args: Any) -> str:
        self.executed.append((query, args))
        return "OK"

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None:
        self.executed += [(command, tuple(row)) for row in args]

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        raise AssertionError(query, args)

    async def fetchrow(self, query: str, *args: Any) -> Any | None:
        raise AssertionError(query, args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        raise AssertionError(query, args)


@dataclass(slots=True)
class MemoryDatabase:
    """What transactions have committed, and how the next ones are to fail.

    Attributes:
        failures: one per transaction to come: "before" loses it, "after" commits it and loses the
            answer, "" lets it pass.
        latency_s: how long a commit takes.
    """

    executed: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    latency_s: float = 0.0
    is_away: bool = False

    @asynccontextmanager
    async def transaction(self, *, may_fail: bool = True) -> AsyncIterator[Transaction]:
        self.check()
        failure = self.failures.pop(0) if may_fail and self.failures else ""
        tx = MemoryTransaction()
        yield tx
        await asyncio.sleep(self.latency_s)
        if failure == "before":
            raise DatabaseAway("lost before its commit")
        for write in tx.on_commit:
            write()
        self.executed += tx.executed
        if failure == "after":
            raise DatabaseAway("committed, but nobody heard of it")

    def check(self) -> None:
        if self.is_away:
            raise DatabaseAway("away")


@dataclass(slots=True)
class MemoryRow:
    """A row of progress; also what a claim and a standing give."""

    partition: Partition
    next_offset: int
    epoch: int = 0
    owner: str = ""
    cluster_id: str = ""
    topic_id: str = ""
    crashes: int = 0
    attempted_offset: int = -1
    isolate_until: int = -1


class MemoryLedger:
    """Progress with the same guard as the table, without the counting of deaths."""

    def __init__(self, database: MemoryDatabase, *, owner: str = "me") -> None:
        self.database = database
        self.owner = owner
        self.rows: dict[Partition, MemoryRow] = {}
        self.attempts: list[tuple[Partition, int]] = []

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self.database.transaction()

    async def standings(self, partitions: Sequence[Partition]) -> dict[Partition, MemoryRow]:
        self.database.check()
        return {p: self.rows[p] for p in partitions if p in self.rows}

    async def claim(
        self, bids: Sequence[Bid], *, cluster_id: str, topic_id: str
    ) -> list[MemoryRow]:
        self.database.check()
        await asyncio.sleep(0)
        claims = []
        for bid in bids:
            row = self.rows.setdefault(bid.partition, MemoryRow(bid.partition, bid.log_start))
            row.epoch += 1
            row.owner, row.cluster_id, row.topic_id = self.owner, cluster_id, topic_id
            claims.append(
                MemoryRow(
                    row.partition,
                    row.next_offset,
                    row.epoch,
                    crashes=row.crashes,
                    attempted_offset=row.attempted_offset,
                    isolate_until=row.isolate_until,
                )
            )
        return claims

    async def advance(self, tx: Transaction, moves: Sequence[Move]) -> frozenset[Partition]:
        if not isinstance(tx, MemoryTransaction):
            raise TypeError(tx)
        ours = []
        for move in moves:
            row = self.rows.get(move.partition)
            if row and (row.epoch, row.next_offset) == (move.epoch, move.from_offset):
                ours.append(move.partition)
                tx.on_commit.append(partial(_move, row, move.to_offset))
        return frozenset(ours)

    async def attempt(self, partition: Partition, offset: int) -> None:
        self.database.check()
        self.attempts.append((partition, offset))

    async def release(self, epochs: dict[Partition, int]) -> None:
        self.database.check()
        for partition, epoch in epochs.items():
            if self.rows[partition].epoch == epoch:
                self.rows[partition].owner = ""


def _move(row: MemoryRow, to_offset: int) -> None:
    row.next_offset = to_offset


@dataclass(frozen=True, slots=True)
class MemoryOutboxRow:
    """A row that waits."""

    id: int
    record: Record


class MemoryOutbox:
    """Outbox rows by id."""

    def __init__(self, database: MemoryDatabase) -> None:
        self.database = database
        self.rows: dict[int, Record] = {}
        self.refused: list[tuple[int, PermanentError]] = []
        self._last_id = 0

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self.database.transaction(may_fail=False)

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[int]:
        if not isinstance(tx, MemoryTransaction):
            raise TypeError(tx)
        ids = list(range(self._last_id + 1, self._last_id + 1 + len(records)))
        self._last_id += len(records)
        new = dict(zip(ids, records, strict=True))
        tx.on_commit.append(lambda: self.rows.update(new))
        return ids

    async def delete(self, ids: Sequence[int]) -> None:
        self.database.check()
        for id_ in ids:
            self.rows.pop(id_, None)

    async def count(self, *, bound: int) -> int:
        self.database.check()
        return min(len(self.rows), bound + 1)

    async def lock_older(
        self, tx: Transaction, *, age_s: float, limit: int, after: int
    ) -> Sequence[MemoryOutboxRow]:
        del tx, age_s  # everything is old here, and nobody else looks
        found = sorted(id_ for id_ in self.rows if id_ > after)[:limit]
        return [MemoryOutboxRow(id_, self.rows[id_]) for id_ in found]

    async def settle(
        self,
        tx: Transaction,
        published: Sequence[tuple[int, Place]],
        refused: Sequence[tuple[Waiting, PermanentError]],
    ) -> None:
        if not isinstance(tx, MemoryTransaction):
            raise TypeError(tx)
        gone = [id_ for id_, _ in published] + [row.id for row, _ in refused]
        tx.on_commit += [partial(self._forget, id_) for id_ in gone]
        self.refused += [(row.id, error) for row, error in refused]

    def _forget(self, id_: int) -> None:
        self.rows.pop(id_, None)


class MemoryDeadLetters:
    """Dead letters in the order of their commits."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []

    async def add(self, tx: Transaction, letters: Sequence[DeadLetter]) -> None:
        if not isinstance(tx, MemoryTransaction):
            raise TypeError(tx)
        tx.on_commit.append(lambda: self.letters.extend(letters))


class MemoryMembers:
    """Member ids by instance."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}

    async def predecessor(self, instance: str) -> str | None:
        return self.ids.get(instance)

    async def store(self, instance: str, member_id: str) -> None:
        self.ids[instance] = member_id


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
    ) -> list[tuple[Partition, list[Fetched]]]:
        found: list[tuple[Partition, list[Fetched]]] = []
        for partition in partitions:
            records = self._from(partition, max_records)
            if records:
                self.positions[partition] = records[-1][0] + 1
                found.append((partition, records))
        await asyncio.sleep(self.fetch_latency_s if found else min(timeout_s, 0.002))
        return found

    def _from(self, partition: Partition, max_records: int) -> list[Fetched]:
        start = self.positions.get(partition)
        if start is None:
            return []
        return [
            (offset, 1000 + offset, record)
            for offset, record in enumerate(self.log.partitions[partition])
            if offset >= start and record is not None
        ][:max_records]

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

    async def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        if self.bounds_away:
            raise BrokerAway("bounds")
        return {p: (0, len(self.log.partitions[p])) for p in partitions}
