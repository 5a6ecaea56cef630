"""The outbox: order, bytes as they were, skipping, places, quarantine, the cheap count."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import PermanentError, RecordRefused
from core.messaging.ports import Outbox
from core.offsets import OutboxRow, Place
from core.storage.pool import Pool
from core.storage.stream import outbox
from core.storage.stream.outbox import headers_from_json, headers_to_json, storable
from schemas.record import Record


def records(count: int, topic: str = "images.tagged.v1") -> list[Record]:
    return [
        Record(
            topic, f"k{n}".encode() if n % 2 else None, (("h", b"\x00\xff"), ("h", b"2")), b"\x00v"
        )
        for n in range(count)
    ]


async def fill(pool: Pool, count: int, topic: str = "images.tagged.v1") -> list[OutboxRow]:
    async with pool.transaction() as tx:
        return await outbox.add(tx, records(count, topic))


def ids_of(rows: list[OutboxRow]) -> list[int]:
    return [row.id for row in rows]


async def locked(pool: Pool, *, limit: int = 100, after: int = 0, age_s: float = 0.0) -> list[int]:
    async with pool.transaction() as tx:
        rows = await outbox.lock_older(tx, age_s=age_s, limit=limit, after=after)
        return [row.id for row in rows]


async def test_rows_keep_the_records_order_and_bytes(pool: Pool) -> None:
    port: Outbox = outbox
    wanted = records(50)
    async with pool.transaction() as tx:
        new = await port.add(tx, wanted)
    ids = [row.id for row in new]
    assert ids == sorted(ids)

    async with pool.transaction() as tx:
        rows = await port.lock_older(tx, age_s=0, limit=100, after=0)
        assert rows == new
        assert [row.record for row in rows] == wanted


async def test_nothing_is_seen_of_a_transaction_that_failed(pool: Pool) -> None:
    with pytest.raises(RecordRefused):  # noqa: PT012  # the block's end rolls back
        async with pool.transaction() as tx:
            await outbox.add(tx, records(3))
            await tx.execute("SELECT 1 / 0")
    assert await locked(pool) == []


async def test_only_rows_of_the_wanted_age_beyond_the_cursor_are_given(pool: Pool) -> None:
    ids = ids_of(await fill(pool, 5))
    assert await locked(pool, age_s=60) == []
    assert await locked(pool, after=ids[1], limit=2) == ids[2:4]


async def test_rows_that_another_sweeper_holds_are_skipped(pool: Pool) -> None:
    ids = ids_of(await fill(pool, 4))
    async with pool.transaction() as tx:
        first = await outbox.lock_older(tx, age_s=0, limit=2, after=0)
        async with asyncio.timeout(5):
            assert await locked(pool) == ids[2:]
        assert [row.id for row in first] == ids[:2]


@pytest.mark.parametrize("topic", ["images.arrived.v1", "images.bulk.v1"])
async def test_a_published_arrival_leaves_its_place_and_other_topics_do_not(
    pool: Pool, topic: str
) -> None:
    arrival, tagged = await fill(pool, 1, topic), await fill(pool, 1)
    async with pool.transaction() as tx:
        published = [
            (arrival[0], Place(topic, 7, 123)),
            (tagged[0], Place("images.tagged.v1", 1, 5)),
        ]
        await outbox.settle(tx, published, [])

    rows = await pool.fetch("SELECT outbox_id, topic, part, log_offset FROM outbox_places")
    assert [tuple(row) for row in rows] == [(arrival[0].id, topic, 7, 123)]
    assert await locked(pool) == []


async def test_a_refused_row_is_kept_as_a_dead_letter_with_its_reason(pool: Pool) -> None:
    ids = ids_of(await fill(pool, 2))
    async with pool.transaction() as tx:
        rows = await outbox.lock_older(tx, age_s=0, limit=1, after=0)
        await outbox.settle(
            tx, [], [(rows[0], PermanentError("too\x00large", reason="kafka_refused"))]
        )

    assert await locked(pool) == ids[1:]
    row = await pool.fetchrow("SELECT * FROM dead_letters")
    assert row is not None
    assert (row["reason"], row["detail"], row["quarantined"]) == (
        "kafka_refused",
        "too\ufffdlarge",
        True,
    )
    assert row["value"] == b"\x00v"
    assert headers_from_json(row["headers"]) == (("h", b"\x00\xff"), ("h", b"2"))


async def test_the_count_is_exact_near_the_bound_and_never_too_low(pool: Pool) -> None:
    assert await outbox.count(pool, bound=100) == 0
    ids = ids_of(await fill(pool, 30))
    await outbox.delete(pool, ids[1:-1])

    assert await outbox.count(pool, bound=10) == 2
    assert await outbox.count(pool, bound=1000) >= 2


@given(headers=st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=40)), max_size=5))
@settings(max_examples=100)
def test_headers_come_back_as_they_were_but_for_what_postgresql_cannot_hold(
    headers: list[tuple[str, bytes]],
) -> None:
    told = headers_from_json(headers_to_json(headers))

    assert [value for _, value in told] == [value for _, value in headers]
    assert [name for name, _ in told] == [storable(name) for name, _ in headers]
