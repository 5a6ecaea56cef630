"""The loop's ports over the simulated database and broker, as one life has them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from core.errors import BrokerAway, PermanentError
from core.messaging.ports import Bid, DeadLetter, Move, Place, Sent, Waiting
from core.transaction import Transaction
from schemas.record import Partition, Record
from tests.fakes.messaging import MemoryOutboxRow
from tests.simulation.broker import SimBroker
from tests.simulation.clock import Life
from tests.simulation.database import Row, Session, SimDatabase
from tests.simulation.wire import Wire

T = TypeVar("T")


class SimTransaction:
    """A session, as a role and the ports see it."""

    def __init__(self, ports: "Connection", session: Session) -> None:
        self.session = session
        self._ports = ports

    async def run(self, effect: Callable[[Session], Awaitable[T]]) -> T:
        """Run a statement in this session."""
        return await self._ports.in_session(self.session, effect)

    async def execute(self, query: str, *args: Any) -> str:
        """Write effects: the one statement that a role here has."""
        effects, refused = args

        async def apply(session: Session) -> None:
            self._ports.database.apply(session, effects, refused)

        await self.run(apply)
        return query

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None:
        raise AssertionError(command)

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        raise AssertionError(query)

    async def fetchrow(self, query: str, *args: Any) -> Any | None:
        raise AssertionError(query)

    async def fetchval(self, query: str, *args: Any) -> Any:
        raise AssertionError(query)


def _session(tx: Transaction) -> SimTransaction:
    if not isinstance(tx, SimTransaction):
        raise TypeError(tx)
    return tx


class Connection:
    """One life's way to the database."""

    def __init__(self, database: SimDatabase, wire: Wire, life: Life | None = None) -> None:
        self.database = database
        self.wire = wire
        self.life = life

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """As `core.storage.pool` has it: what raises in the block rolls back."""
        session = await self.wire.call(self._begin)
        try:
            yield SimTransaction(self, session)
        except BaseException:
            if not session.is_committing:
                self.database.end(session)  # the socket is closed; the server sees it at once
            raise
        session.is_committing = True

        async def commit() -> None:
            self.database.commit(session)

        await self.wire.call(commit)

    async def _begin(self) -> Session:
        return self.database.begin(self.life)

    async def in_session(self, session: Session, effect: Callable[[Session], Awaitable[T]]) -> T:
        """Run a statement."""

        async def statement() -> T:
            self.database.busy(session)
            try:
                return await effect(session)
            finally:
                self.database.idle(session)

        return await self.wire.call(statement)


class SimLedger:
    """`Ledger` over the simulated table."""

    def __init__(
        self, connection: Connection, *, owner: str, isolate_after: int = 2, isolate_span: int = 10
    ) -> None:
        self.connection = connection
        self.database = connection.database
        self.owner = owner
        self._isolate_after = isolate_after
        self._isolate_span = isolate_span

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self.connection.transaction()

    async def standings(self, partitions: Sequence[Partition]) -> dict[Partition, Row]:
        async def read() -> dict[Partition, Row]:
            rows = self.database.rows
            return {
                p: Row(
                    p,
                    rows[p].next_offset,
                    cluster_id=rows[p].cluster_id,
                    topic_id=rows[p].topic_id,
                )
                for p in partitions
                if p in rows
            }

        return await self.connection.wire.call(read)

    async def claim(self, bids: Sequence[Bid], *, cluster_id: str, topic_id: str) -> list[Row]:
        of = Row(
            bids[0].partition,
            0,
            owner=self.owner,
            cluster_id=cluster_id,
            topic_id=topic_id,
            crashes=self._isolate_after,
            isolate_until=self._isolate_span,
        )
        return await self.connection.wire.call(
            lambda: self.database.claim(self.connection.life, bids, of)
        )

    async def advance(self, tx: Transaction, moves: Sequence[Move]) -> frozenset[Partition]:
        return await _session(tx).run(
            lambda session: self.database.advance(session, moves, isolate_after=self._isolate_after)
        )

    async def attempt(self, partition: Partition, offset: int) -> None:
        await self.connection.wire.call(
            lambda: self.database.attempt(self.owner, partition, offset)
        )

    async def release(self, epochs: dict[Partition, int]) -> None:
        await self.connection.wire.call(lambda: self.database.release(self.owner, epochs))


class SimDeadLetters:
    """`DeadLetters`."""

    def __init__(self, connection: Connection) -> None:
        self._database = connection.database

    async def add(self, tx: Transaction, letters: Sequence[DeadLetter]) -> None:
        if letters:

            async def add(session: Session) -> None:
                self._database.set_aside(session, letters)

            await _session(tx).run(add)


class SimOutbox:
    """`Outbox`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.database = connection.database

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self.connection.transaction()

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[int]:
        if not records:
            return []

        async def add(session: Session) -> list[int]:
            return self.database.add(session, records)

        return await _session(tx).run(add)

    async def delete(self, ids: Sequence[int]) -> None:
        async def delete() -> None:
            self.database.forget(ids)

        if ids:
            await self.connection.wire.call(delete)

    async def count(self, *, bound: int) -> int:
        async def count() -> int:
            return min(len(self.database.outbox), bound + 1)

        return await self.connection.wire.call(count)

    async def lock_older(
        self, tx: Transaction, *, age_s: float, limit: int, after: int
    ) -> Sequence[MemoryOutboxRow]:
        async def lock(session: Session) -> list[MemoryOutboxRow]:
            found = self.database.lock_older(session, age_s=age_s, limit=limit, after=after)
            return [MemoryOutboxRow(*row) for row in found]

        return await _session(tx).run(lock)

    async def settle(
        self,
        tx: Transaction,
        published: Sequence[tuple[int, Place]],
        refused: Sequence[tuple[Waiting, PermanentError]],
    ) -> None:
        gone = [id_ for id_, _ in published] + [row.id for row, _ in refused]

        async def settle(session: Session) -> None:
            session.writes.append(lambda: self.database.forget(gone))

        await _session(tx).run(settle)


class SimMembers:
    """`Members`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._members = connection.database.members

    async def predecessor(self, instance: str) -> str | None:
        async def look() -> str | None:
            return self._members.get(instance)

        return await self._connection.wire.call(look)

    async def store(self, instance: str, member_id: str) -> None:
        async def store() -> None:
            self._members[instance] = member_id

        await self._connection.wire.call(store)


class SimPublisher:
    """`RecordPublisher`: what Kafka has may be more than what it could acknowledge."""

    def __init__(self, broker: SimBroker, wire: Wire) -> None:
        self._broker = broker
        self._wire = wire

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        async def append() -> list[Sent]:
            return [self._broker.append(record) for record in records]

        try:
            return await self._wire.call(append)
        except BrokerAway as error:
            return [error] * len(records)
