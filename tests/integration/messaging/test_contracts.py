"""The doubles in memory keep the promises of the real tables: one set of tests, two of each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.errors import PermanentError
from core.messaging.ports import Bid, Ledger, Move, Outbox, Place
from core.settings import DatabaseSettings
from core.storage.outbox import OutboxTable
from core.storage.pool import open_pool
from core.storage.progress import ProgressTable
from schemas.record import Partition, Record
from tests.fakes.messaging import MemoryDatabase, MemoryLedger, MemoryOutbox

P0, P1 = Partition("t", 0), Partition("t", 1)


@asynccontextmanager
async def _real(url: str) -> AsyncIterator[tuple[Ledger, Ledger, Outbox]]:
    async with open_pool(DatabaseSettings(url=url)) as pool:
        ledgers = [
            ProgressTable(pool, group="g", owner=owner, isolate_after=2, isolate_span=10)
            for owner in ("a", "b")
        ]
        yield ledgers[0], ledgers[1], OutboxTable(pool)


@pytest.fixture(params=["memory", "postgresql"])
async def ports(
    request: pytest.FixtureRequest,
) -> AsyncIterator[tuple[Ledger, Ledger, Outbox]]:
    """Two owners on one set of progress rows, and an outbox beside them."""
    if request.param == "postgresql":
        async with _real(request.getfixturevalue("database_url")) as real:
            yield real
        return
    database = MemoryDatabase()
    mine, other = MemoryLedger(database, owner="a"), MemoryLedger(database, owner="b")
    other.rows = mine.rows
    yield mine, other, MemoryOutbox(database)


Ports = tuple[Ledger, Ledger, Outbox]


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
        mine, other, _ = ports
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
        mine, other, _ = ports
        old = await claim(mine, P0, P1)
        new = await claim(other, P0)

        assert await advance(mine, Move(P0, old[P0], 3, 4), Move(P1, old[P1], 3, 4)) == {P1}
        assert await advance(other, Move(P0, new[P0], 2, 4)) == frozenset()
        assert await advance(other, Move(P0, new[P0], 3, 4)) == {P0}

    async def test_a_transaction_that_fails_moves_nothing(self, ports: Ports) -> None:
        mine, _, outbox = ports
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


class TestOutboxes:
    async def test_rows_come_in_order_beyond_the_cursor_until_they_are_gone(
        self, ports: Ports
    ) -> None:
        outbox = ports[2]
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
