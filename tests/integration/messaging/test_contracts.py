"""The simulated tables keep the promises of the real ones: one set of tests, run on each."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import pytest

from core.errors import DatabaseAway, PermanentError
from core.messaging.ports import DeadLetters, Ledger, Members, Outbox
from core.offsets import Bid, Claim, DeadLetter, Identity, Move, Owner, Place, Standing
from core.settings import DatabaseSettings
from core.storage.pool import open_pool
from core.storage.stream import dead_letters, members, outbox, progress
from core.transaction import Database
from schemas.dead_letter import DeadLetterPlace
from schemas.record import Partition, Record
from tests.simulation.database import SimDatabase
from tests.simulation.ports import Connection, SimDeadLetters, SimLedger, SimMembers, SimOutbox
from tests.simulation.wire import Wire

P0, P1 = Partition("t", 0), Partition("t", 1)


MINE, OTHER = (Owner("g", name, isolate_after=2, isolate_span=10) for name in "ab")
IDENTITY = Identity("c", "i")


@dataclass(frozen=True)
class Ports:
    """A database with its tables.

    Attributes:
        kept: reasons of the dead letters, by offset.
    """

    database: Database
    ledger: Ledger
    outbox: Outbox
    letters: DeadLetters
    members: Members
    kept: Callable[[], Awaitable[dict[int, str]]]

    async def claim(self, owner: Owner, *bids: Bid) -> list[Claim]:
        async with self.database.transaction() as tx:
            return list(await self.ledger.claim(tx, owner, bids, IDENTITY))

    async def advance(self, owner: Owner, *moves: Move) -> frozenset[Partition]:
        async with self.database.transaction() as tx:
            return await self.ledger.advance(tx, owner, moves)

    async def standings(self, *partitions: Partition) -> dict[Partition, Standing]:
        async with self.database.connection() as connection:
            return dict(await self.ledger.standings(connection, "g", partitions))


def _simulation() -> Ports:
    database = SimDatabase()

    async def kept() -> dict[int, str]:
        return {offset: reason for (_, offset), reason in database.letters.items()}

    connection = Connection(database, Wire(Random(1), DatabaseAway))
    return Ports(connection, SimLedger(), SimOutbox(), SimDeadLetters(), SimMembers(), kept)


@asynccontextmanager
async def _postgresql(url: str) -> AsyncIterator[Ports]:
    async with open_pool(DatabaseSettings(url=url)) as pool:

        async def kept() -> dict[int, str]:
            rows = await pool.fetch("SELECT log_offset, reason FROM dead_letters")
            return {row["log_offset"]: row["reason"] for row in rows}

        yield Ports(pool, progress, outbox, dead_letters, members, kept)


@pytest.fixture(params=["simulation", "postgresql"])
async def ports(request: pytest.FixtureRequest) -> AsyncIterator[Ports]:
    """Open each implementation in turn."""
    if request.param == "postgresql":
        async with _postgresql(request.getfixturevalue("database_url")) as real:
            yield real
    else:
        yield _simulation()


def bids(*partitions: Partition) -> list[Bid]:
    return [Bid(partition, 3, 100) for partition in partitions]


class TestLedgers:
    async def test_a_partition_begins_at_its_logs_start_and_goes_on_where_it_stood(
        self, ports: Ports
    ) -> None:
        assert await ports.standings(P0) == {}
        (first,) = await ports.claim(MINE, *bids(P0))

        assert await ports.advance(MINE, Move(P0, first.epoch, 3, 9)) == {P0}

        (again,) = await ports.claim(OTHER, Bid(P0, 0, 100))
        assert (again.next_offset, again.epoch) == (9, first.epoch + 1)
        assert await ports.standings(P0, P1) == {P0: Standing(9, IDENTITY)}

    async def test_only_the_newest_epoch_moves_and_only_from_where_it_stands(
        self, ports: Ports
    ) -> None:
        old, kept = await ports.claim(MINE, *bids(P0, P1))
        (new,) = await ports.claim(OTHER, *bids(P0))

        assert await ports.advance(MINE, Move(P0, old.epoch, 3, 4), Move(P1, kept.epoch, 3, 4)) == {
            P1
        }
        assert await ports.advance(OTHER, Move(P0, new.epoch, 2, 4)) == frozenset()
        assert await ports.advance(OTHER, Move(P0, new.epoch, 3, 4)) == {P0}

    async def test_a_transaction_that_fails_moves_and_claims_nothing(self, ports: Ports) -> None:
        (mine,) = await ports.claim(MINE, *bids(P0))

        async def fail() -> None:
            async with ports.database.transaction() as tx:
                await ports.ledger.advance(tx, MINE, [Move(P0, mine.epoch, 3, 4)])
                await ports.ledger.claim(tx, OTHER, bids(P1), IDENTITY)
                await ports.outbox.add(tx, [Record("t", None, (), b"v")])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()

        assert await ports.standings(P0, P1) == {P0: Standing(3, IDENTITY)}
        async with ports.database.transaction() as tx:
            assert await ports.outbox.lock_older(tx, age_s=0, limit=9, after=0) == []


class TestDeaths:
    async def test_deaths_at_an_unmoved_offset_are_counted_and_the_suspects_bounded(
        self, ports: Ports
    ) -> None:
        found = []
        for turn in range(4):
            (one,) = await ports.claim((MINE, OTHER)[turn % 2], Bid(P0, 3, 8))
            found.append((one.crashes, one.isolate_until))

        assert found == [(0, -1), (1, -1), (2, 8), (2, 8)], "in isolation only who was at work"

    async def test_in_isolation_only_the_record_at_work_is_blamed(self, ports: Ports) -> None:
        for owner in (MINE, OTHER, MINE):
            await ports.claim(owner, *bids(P0))
        async with ports.database.connection() as connection:
            await ports.ledger.attempt(connection, MINE, P0, 3)
        (one,) = await ports.claim(OTHER, *bids(P0))
        assert (one.crashes, one.attempted_offset, one.isolate_until) == (3, 3, 13)

        assert await ports.advance(OTHER, Move(P0, one.epoch, 3, 4)) == {P0}
        (one,) = await ports.claim(MINE, *bids(P0))
        assert (one.next_offset, one.crashes, one.isolate_until) == (4, 2, 13)

    async def test_who_gives_back_has_not_died_and_a_thief_is_left_alone(
        self, ports: Ports
    ) -> None:
        (first,) = await ports.claim(MINE, *bids(P0))
        async with ports.database.connection() as connection:
            await ports.ledger.release(connection, MINE, {P0: first.epoch})
        (one,) = await ports.claim(OTHER, *bids(P0))
        assert one.crashes == 0

        async with ports.database.connection() as connection:  # too late: the other owns it now
            await ports.ledger.release(connection, MINE, {P0: first.epoch})
        (one,) = await ports.claim(MINE, *bids(P0))
        assert one.crashes == 1

    async def test_who_has_done_everything_dies_of_nothing(self, ports: Ports) -> None:
        await ports.claim(MINE, *bids(P0))
        (one,) = await ports.claim(OTHER, Bid(P0, 3, 3))
        assert one.crashes == 0


class TestOutboxes:
    async def test_rows_come_in_order_beyond_the_cursor_until_they_are_gone(
        self, ports: Ports
    ) -> None:
        database, outbox = ports.database, ports.outbox
        records = [Record("t", b"k", (("h", b"\xff"),), bytes([n])) for n in range(5)]
        async with database.transaction() as tx:
            new = await outbox.add(tx, records)
        async with database.connection() as connection:
            await outbox.delete(connection, [new[0].id])
            assert await outbox.count(connection, bound=10) >= 4

        async with database.transaction() as tx:
            rows = await outbox.lock_older(tx, age_s=0, limit=2, after=new[1].id)
            assert rows == new[2:4]
            refused = [(rows[1], PermanentError("no"))]
            await outbox.settle(tx, [(rows[0], Place("t", 0, 0))], refused)

        async with database.transaction() as tx:
            rows = await outbox.lock_older(tx, age_s=0, limit=9, after=0)
            assert rows == [new[1], new[4]]


class TestDeadLetters:
    async def test_they_are_kept_with_the_transaction_only(self, ports: Ports) -> None:
        def letter(offset: int) -> DeadLetter:
            place = DeadLetterPlace("g", "t", 0, offset, "why", "")
            return DeadLetter(place, "c", Record("t", None, (), b"v"), 1)

        async def fail() -> None:
            async with ports.database.transaction() as tx:
                await ports.letters.add(tx, [letter(7)])
                raise ZeroDivisionError

        async with ports.database.transaction() as tx:
            await ports.letters.add(tx, [])
            await ports.letters.add(tx, [letter(5), letter(6)])
        with pytest.raises(ZeroDivisionError):
            await fail()

        assert await ports.kept() == {5: "why", 6: "why"}


class TestMembers:
    async def test_the_last_life_of_an_instance_is_remembered(self, ports: Ports) -> None:
        async with ports.database.connection() as connection:
            assert await ports.members.predecessor(connection, "g", "a") is None

            await ports.members.store(connection, "g", "a", "m-1")
            await ports.members.store(connection, "g", "a", "m-2")
            await ports.members.store(connection, "g", "b", "m-3")

            assert await ports.members.predecessor(connection, "g", "a") == "m-2"
