"""The doubles keep the promises of the real tables: one set of tests, run on each of them.

`memory` is that of the loop's unit tests, `simulation` that of tests/simulation (in real time).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import pytest

from core.errors import DatabaseAway, PermanentError
from core.messaging.ports import (
    Bid,
    DeadLetter,
    DeadLetters,
    Ledger,
    Members,
    Move,
    Outbox,
    Place,
)
from core.settings import DatabaseSettings
from core.storage.pool import open_pool
from core.storage.stream.dead_letters import DeadLetterTable
from core.storage.stream.members import MemberTable
from core.storage.stream.outbox import OutboxTable
from core.storage.stream.progress import ProgressTable
from schemas.dead_letter import DeadLetterPlace
from schemas.record import Partition, Record
from tests.fakes.messaging import (
    MemoryDatabase,
    MemoryDeadLetters,
    MemoryLedger,
    MemoryMembers,
    MemoryOutbox,
)
from tests.simulation.database import SimDatabase
from tests.simulation.ports import Connection, SimDeadLetters, SimLedger, SimMembers, SimOutbox
from tests.simulation.wire import Wire

P0, P1 = Partition("t", 0), Partition("t", 1)


@dataclass(frozen=True)
class Ports:
    """Two owners on one set of progress rows, and what lies beside them.

    Attributes:
        kept: reasons of the dead letters, by offset.
    """

    mine: Ledger
    other: Ledger
    outbox: Outbox
    letters: DeadLetters
    members: Members
    kept: Callable[[], Awaitable[dict[int, str]]]


def _memory() -> Ports:
    database = MemoryDatabase()
    mine, other = MemoryLedger(database, owner="a"), MemoryLedger(database, owner="b")
    other.rows = mine.rows
    letters = MemoryDeadLetters()

    async def kept() -> dict[int, str]:
        return {letter.place.offset: letter.place.reason for letter in letters.letters}

    return Ports(mine, other, MemoryOutbox(database), letters, MemoryMembers(), kept)


def _simulation() -> Ports:
    database = SimDatabase()
    connection = Connection(database, Wire(Random(1), DatabaseAway))

    async def kept() -> dict[int, str]:
        return {offset: reason for (_, offset), reason in database.letters.items()}

    return Ports(
        SimLedger(connection, owner="a"),
        SimLedger(connection, owner="b"),
        SimOutbox(connection),
        SimDeadLetters(connection),
        SimMembers(connection),
        kept,
    )


@asynccontextmanager
async def _postgresql(url: str) -> AsyncIterator[Ports]:
    async with open_pool(DatabaseSettings(url=url)) as pool:

        async def kept() -> dict[int, str]:
            rows = await pool.fetch("SELECT log_offset, reason FROM dead_letters")
            return {row["log_offset"]: row["reason"] for row in rows}

        mine, other = (
            ProgressTable(pool, group="g", owner=owner, isolate_after=2, isolate_span=10)
            for owner in ("a", "b")
        )
        members = MemberTable(pool, group="g")
        yield Ports(mine, other, OutboxTable(pool), DeadLetterTable(), members, kept)


@pytest.fixture(params=["memory", "simulation", "postgresql"])
async def ports(request: pytest.FixtureRequest) -> AsyncIterator[Ports]:
    """Each of them."""
    if request.param == "postgresql":
        async with _postgresql(request.getfixturevalue("database_url")) as real:
            yield real
    else:
        yield _memory() if request.param == "memory" else _simulation()


@pytest.fixture(params=["simulation", "postgresql"])
async def counting(request: pytest.FixtureRequest) -> AsyncIterator[Ports]:
    """Those that count deaths."""
    if request.param == "postgresql":
        async with _postgresql(request.getfixturevalue("database_url")) as real:
            yield real
    else:
        yield _simulation()


async def claim(ledger: Ledger, *partitions: Partition) -> dict[Partition, int]:
    bids = [Bid(partition, 3, 100) for partition in partitions]
    claims = await ledger.claim(bids, cluster_id="c", topic_id="i")
    return {one.partition: one.epoch for one in claims}


async def advance(ledger: Ledger, *moves: Move) -> frozenset[Partition]:
    async with ledger.transaction() as tx:
        return await ledger.advance(tx, moves)


class TestLedgers:
    async def test_a_partition_begins_at_its_logs_start_and_goes_on_where_it_stood(
        self, ports: Ports
    ) -> None:
        mine, other = ports.mine, ports.other
        assert await mine.standings([P0]) == {}
        epochs = await claim(mine, P0)

        assert await advance(mine, Move(P0, epochs[P0], 3, 9)) == {P0}

        (again,) = await other.claim([Bid(P0, 0, 100)], cluster_id="c", topic_id="i")
        assert (again.next_offset, again.epoch) == (9, epochs[P0] + 1)
        standing = (await mine.standings([P0, P1]))[P0]
        assert (standing.next_offset, standing.cluster_id, standing.topic_id) == (9, "c", "i")

    async def test_only_the_newest_epoch_moves_and_only_from_where_it_stands(
        self, ports: Ports
    ) -> None:
        mine, other = ports.mine, ports.other
        old = await claim(mine, P0, P1)
        new = await claim(other, P0)

        assert await advance(mine, Move(P0, old[P0], 3, 4), Move(P1, old[P1], 3, 4)) == {P1}
        assert await advance(other, Move(P0, new[P0], 2, 4)) == frozenset()
        assert await advance(other, Move(P0, new[P0], 3, 4)) == {P0}

    async def test_a_transaction_that_fails_moves_nothing(self, ports: Ports) -> None:
        mine, outbox = ports.mine, ports.outbox
        epochs = await claim(mine, P0)

        async def fail() -> None:
            async with mine.transaction() as tx:
                await mine.advance(tx, [Move(P0, epochs[P0], 3, 4)])
                await outbox.add(tx, [Record("t", None, (), b"v")])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()

        assert (await mine.standings([P0]))[P0].next_offset == 3
        async with outbox.transaction() as tx:
            assert list(await outbox.lock_older(tx, age_s=0, limit=9, after=0)) == []


class TestDeaths:
    async def test_deaths_at_an_unmoved_offset_are_counted_and_the_suspects_bounded(
        self, counting: Ports
    ) -> None:
        found = []
        for turn in range(4):
            ledger = (counting.mine, counting.other)[turn % 2]
            (one,) = await ledger.claim([Bid(P0, 3, 8)], cluster_id="c", topic_id="i")
            found.append((one.crashes, one.isolate_until))

        assert found == [(0, -1), (1, -1), (2, 8), (2, 8)], "in isolation only who was at work"

    async def test_in_isolation_only_the_record_at_work_is_blamed(self, counting: Ports) -> None:
        for ledger in (counting.mine, counting.other, counting.mine):
            await claim(ledger, P0)
        await counting.mine.attempt(P0, 3)
        (one,) = await counting.other.claim([Bid(P0, 3, 100)], cluster_id="c", topic_id="i")
        assert (one.crashes, one.attempted_offset, one.isolate_until) == (3, 3, 13)

        assert await advance(counting.other, Move(P0, one.epoch, 3, 4)) == {P0}
        (one,) = await counting.mine.claim([Bid(P0, 3, 100)], cluster_id="c", topic_id="i")
        assert (one.next_offset, one.crashes, one.isolate_until) == (4, 2, 13)

    async def test_who_gives_back_has_not_died_and_a_thief_is_left_alone(
        self, counting: Ports
    ) -> None:
        epochs = await claim(counting.mine, P0)
        await counting.mine.release(epochs)
        (one,) = await counting.other.claim([Bid(P0, 3, 100)], cluster_id="c", topic_id="i")
        assert one.crashes == 0

        await counting.mine.release(epochs)  # late: it is the other's now
        (one,) = await counting.mine.claim([Bid(P0, 3, 100)], cluster_id="c", topic_id="i")
        assert one.crashes == 1

    async def test_who_has_done_everything_dies_of_nothing(self, counting: Ports) -> None:
        await claim(counting.mine, P0)
        (one,) = await counting.other.claim([Bid(P0, 3, 3)], cluster_id="c", topic_id="i")
        assert one.crashes == 0


class TestOutboxes:
    async def test_rows_come_in_order_beyond_the_cursor_until_they_are_gone(
        self, ports: Ports
    ) -> None:
        outbox = ports.outbox
        records = [Record("t", b"k", (("h", b"\xff"),), bytes([n])) for n in range(5)]
        async with outbox.transaction() as tx:
            ids = await outbox.add(tx, records)
        await outbox.delete([ids[0]])

        async with outbox.transaction() as tx:
            rows = await outbox.lock_older(tx, age_s=0, limit=2, after=ids[1])
            assert [(row.id, row.record) for row in rows] == [
                (ids[2], records[2]),
                (ids[3], records[3]),
            ]
            refused = [(rows[1], PermanentError("no"))]
            await outbox.settle(tx, [(rows[0].id, Place("t", 0, 0))], refused)

        async with outbox.transaction() as tx:
            rows = await outbox.lock_older(tx, age_s=0, limit=9, after=0)
            assert [row.id for row in rows] == [ids[1], ids[4]]


class TestDeadLetters:
    async def test_they_are_kept_with_the_transaction_only(self, ports: Ports) -> None:
        def letter(offset: int) -> DeadLetter:
            place = DeadLetterPlace("g", "t", 0, offset, "why", "")
            return DeadLetter(place, "c", Record("t", None, (), b"v"), 1)

        async def fail() -> None:
            async with ports.mine.transaction() as tx:
                await ports.letters.add(tx, [letter(7)])
                raise ZeroDivisionError

        async with ports.mine.transaction() as tx:
            await ports.letters.add(tx, [])
            await ports.letters.add(tx, [letter(5), letter(6)])
        with pytest.raises(ZeroDivisionError):
            await fail()

        assert await ports.kept() == {5: "why", 6: "why"}


class TestMembers:
    async def test_the_last_life_of_an_instance_is_remembered(self, ports: Ports) -> None:
        assert await ports.members.predecessor("a") is None

        await ports.members.store("a", "m-1")
        await ports.members.store("a", "m-2")
        await ports.members.store("b", "m-3")

        assert await ports.members.predecessor("a") == "m-2"
