"""The loop's ports over the simulated database and broker, as one life has them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from core.errors import BrokerAway, PermanentError
from core.messaging.ports import Sent
from core.offsets import (
    Bid,
    Claim,
    DeadLetter,
    Identity,
    Move,
    OutboxRow,
    Owner,
    Place,
    Standing,
)
from core.transaction import Transaction
from schemas.record import Partition, Record
from tests.simulation.broker import SimBroker
from tests.simulation.clock import Life
from tests.simulation.database import Session, SimDatabase
from tests.simulation.wire import Wire

T = TypeVar("T")


class SimTransaction:
    """An open transaction, as a role and the ports see it."""

    def __init__(self, connection: "Connection", session: Session) -> None:
        self.database = connection.database
        self.session = session
        self._wire = connection.wire

    async def run(self, effect: Callable[[Session], Awaitable[T]]) -> T:
        """Run a statement in this session."""

        async def statement() -> T:
            self.database.busy(self.session)
            try:
                return await effect(self.session)
            finally:
                self.database.idle(self.session)

        return await self._wire.call(statement)

    async def execute(self, query: str, *args: Any) -> str:
        """Write effects: the one statement that a role here has."""
        effects, refused = args

        async def apply(session: Session) -> None:
            self.database.apply(session, effects, refused)

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


class SimStatements(SimTransaction):
    """A connection outside a transaction: each statement commits itself, in one round trip."""

    async def run(self, effect: Callable[[Session], Awaitable[T]]) -> T:
        async def statement() -> T:
            session = self.database.begin(None)
            try:
                self.database.busy(session)
                result = await effect(session)
                self.database.commit(session)
            finally:
                self.database.end(session)
            return result

        return await self._wire.call(statement)


class Connection:
    """One life's way to the database: `core.transaction.Database`."""

    def __init__(self, database: SimDatabase, wire: Wire, life: Life | None = None) -> None:
        self.database = database
        self.wire = wire
        self.life = life

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """As `core.storage.pool` has it: what raises in the block rolls back."""

        async def begin() -> Session:
            return self.database.begin(self.life)

        session = await self.wire.call(begin)
        try:
            yield SimTransaction(self, session)
        except BaseException:
            if not session.is_committing:
                self.database.end(session)  # the socket is closed; the server sees it at once
            raise
        session.is_committing = True
        await self.commit(session)

    async def commit(self, session: Session) -> None:
        """Send COMMIT and wait for the answer."""

        async def commit() -> None:
            self.database.commit(session)

        await self.wire.call(commit)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Transaction]:
        """Statements of their own."""
        yield SimStatements(self, Session())


def _sim(connection: Transaction) -> SimTransaction:
    if not isinstance(connection, SimTransaction):
        raise TypeError(connection)
    return connection


class SimLedger:
    """`Ledger` over the simulated table."""

    async def standings(
        self, connection: Transaction, group: str, partitions: Sequence[Partition]
    ) -> dict[Partition, Standing]:
        rows = _sim(connection).database.rows

        async def read(_: Session) -> dict[Partition, Standing]:
            return {
                p: Standing(rows[p].next_offset, rows[p].identity) for p in partitions if p in rows
            }

        return await _sim(connection).run(read)

    async def claim(
        self, tx: Transaction, owner: Owner, bids: Sequence[Bid], identity: Identity
    ) -> list[Claim]:
        database = _sim(tx).database
        return await _sim(tx).run(lambda session: database.claim(session, owner, bids, identity))

    async def advance(
        self, tx: Transaction, owner: Owner, moves: Sequence[Move]
    ) -> frozenset[Partition]:
        database = _sim(tx).database
        return await _sim(tx).run(lambda session: database.advance(session, owner, moves))

    async def attempt(
        self, connection: Transaction, owner: Owner, partition: Partition, offset: int
    ) -> None:
        database = _sim(connection).database
        await _sim(connection).run(
            lambda session: database.attempt(session, owner, partition, offset)
        )

    async def release(
        self, connection: Transaction, owner: Owner, epochs: Mapping[Partition, int]
    ) -> None:
        database = _sim(connection).database
        await _sim(connection).run(lambda session: database.release(session, owner, epochs))


class SimDeadLetters:
    """`DeadLetters`."""

    async def add(self, tx: Transaction, letters: Sequence[DeadLetter]) -> None:
        async def add(session: Session) -> None:
            _sim(tx).database.set_aside(session, letters)

        if letters:
            await _sim(tx).run(add)


class SimOutbox:
    """`Outbox`."""

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        async def add(session: Session) -> list[OutboxRow]:
            return _sim(tx).database.add(session, records)

        return await _sim(tx).run(add) if records else []

    async def delete(self, connection: Transaction, ids: Sequence[int]) -> None:
        async def delete(session: Session) -> None:
            session.writes.append(lambda: _sim(connection).database.forget(ids))

        if ids:
            await _sim(connection).run(delete)

    async def count(self, connection: Transaction, *, bound: int) -> int:
        async def count(_: Session) -> int:
            return min(len(_sim(connection).database.outbox), bound + 1)

        return await _sim(connection).run(count)

    async def lock_older(
        self, tx: Transaction, *, age_s: float, limit: int, after: int
    ) -> list[OutboxRow]:
        async def lock(session: Session) -> list[OutboxRow]:
            database = _sim(tx).database
            return database.lock_older(session, age_s=age_s, limit=limit, after=after)

        return await _sim(tx).run(lock)

    async def settle(
        self,
        tx: Transaction,
        published: Sequence[tuple[OutboxRow, Place]],
        refused: Sequence[tuple[OutboxRow, PermanentError]],
    ) -> None:
        database = _sim(tx).database

        async def settle(session: Session) -> None:
            session.writes.append(
                lambda: database.forget([row.id for row, _ in (*published, *refused)])
            )
            session.writes.append(lambda: database.quarantined.extend(refused))
            session.writes.append(
                lambda: database.places.update({row.id: place for row, place in published})
            )

        await _sim(tx).run(settle)


class SimMembers:
    """`Members`."""

    async def predecessor(self, connection: Transaction, group: str, instance: str) -> str | None:
        async def look(_: Session) -> str | None:
            return _sim(connection).database.members.get(instance)

        return await _sim(connection).run(look)

    async def store(
        self, connection: Transaction, group: str, instance: str, member_id: str
    ) -> None:
        async def store(session: Session) -> None:
            members = _sim(connection).database.members
            session.writes.append(lambda: members.update({instance: member_id}))

        await _sim(connection).run(store)


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
