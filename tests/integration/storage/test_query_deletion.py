"""Queries are deleted while they are answered, scheduled, sent and sent again."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from consumers.upkeep.pruning import ages
from core.settings import RetentionSettings
from core.storage import retention
from core.storage.delivery import deliveries, lanes, redelivery
from core.storage.delivery.deliveries import Attempt, Leased, Settled
from core.storage.delivery.lanes import Room
from core.storage.delivery.redelivery import RedeliveryChoice
from core.storage.pool import Pool
from core.storage.queries import queries, query_deletion
from core.storage.queries.query_deletion import Deleted
from schemas.callback import CallbackRequested, callback_id_of
from schemas.token import Token
from tests.fakes import queries as queries_fake
from tests.fakes.queries import URL, answered, asked
from tests.locks import until_blocked

QUERIES, AT_ONCE = 60, 6


async def accept(pool: Pool, query_id: UUID) -> str:
    async with pool.transaction() as tx:
        return await queries.accept(
            tx, query_id=query_id, owner="ann", text="cats", callback_url=URL, options={},
            fingerprint=b"f",
        )  # fmt: skip


def webhook(query_id: UUID) -> tuple[UUID, str, CallbackRequested]:
    return queries_fake.webhook(callback_id_of(query_id), query_id, "ann", "a.example", URL)


async def answer(pool: Pool, query_id: UUID) -> bool:
    """Answer a query as the query role does; return whether its callback event is emitted."""
    async with pool.transaction() as tx:
        return query_id in await queries.answer(tx, [answered(query_id)])


async def intake(pool: Pool, *query_ids: UUID) -> None:
    async with pool.transaction() as tx:
        await deliveries.schedule(tx, [webhook(query_id) for query_id in query_ids])


async def delete(pool: Pool, query_id: UUID) -> Deleted | None:
    async with pool.transaction() as tx:
        return await query_deletion.delete(tx, query_id, owner="ann")


async def claim(pool: Pool, count: int = 100) -> list[Leased]:
    async with pool.transaction() as tx:
        room = Room(new_target=count, total=count)
        return list(await lanes.claim(tx, room, token=uuid4(), lease_s=30))


async def scheduled(pool: Pool) -> set[UUID]:
    return {row["query_id"] for row in await pool.fetch("SELECT query_id FROM deliveries")}


async def test_deleted_queries_have_no_webhook_and_the_others_have_one(pool: Pool) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    there = [uuid4() for _ in range(QUERIES)]
    doomed = set(chance.sample(there, QUERIES // 2))
    for query_id in there:
        await accept(pool, query_id)
    slots = asyncio.Semaphore(AT_ONCE)

    async def live(query_id: UUID) -> None:
        async with slots:
            if await answer(pool, query_id):
                await asyncio.sleep(chance.random() * 0.01)
                await intake(pool, query_id, *chance.sample(sorted(doomed), 3))

    async def die(query_id: UUID) -> None:
        await asyncio.sleep(chance.random() * 0.2)
        async with slots:
            assert await delete(pool, query_id) is not None

    async with asyncio.TaskGroup() as group:
        for query_id in there:
            group.create_task(live(query_id))
        for query_id in doomed:
            group.create_task(die(query_id))

    assert await scheduled(pool) == set(there) - doomed, f"seed {seed}"
    left = await pool.fetch("SELECT query_id FROM queries WHERE deleted_at IS NULL")
    assert {row["query_id"] for row in left} == set(there) - doomed, f"seed {seed}"


async def test_a_query_that_was_deleted_is_not_answered_later(pool: Pool) -> None:
    query_id = uuid4()
    await accept(pool, query_id)
    await delete(pool, query_id)

    assert not await answer(pool, query_id)
    await intake(pool, query_id)

    assert await scheduled(pool) == set()
    assert await accept(pool, query_id) == "deleted"
    assert await queries.status(pool, query_id) is None


async def test_a_query_that_waits_for_an_upload_waits_no_more(pool: Pool) -> None:
    query_id = uuid4()
    await accept(pool, query_id)
    waiting = (asked(query_id), Token("", "images.arrived.v1", 3, 41))
    async with pool.transaction() as tx:
        await queries.park(tx, [waiting], 60)

    await delete(pool, query_id)
    async with pool.transaction() as tx:
        await queries.park(tx, [waiting], 60)  # its record is processed again

    assert await queries.count_parked(pool) == 0
    assert not await answer(pool, query_id)


async def test_a_webhook_that_is_put_on_the_schedule_at_that_moment_goes_too(pool: Pool) -> None:
    query_id = uuid4()
    await accept(pool, query_id)
    await answer(pool, query_id)
    async with asyncio.TaskGroup() as group, pool.transaction() as tx:
        await deliveries.schedule(tx, [webhook(query_id)])
        deleting = group.create_task(delete(pool, query_id))
        await until_blocked(pool, deleting)

    assert (await deleting) is not None
    assert await scheduled(pool) == set()


async def test_a_webhook_that_is_sent_anew_at_that_moment_goes_too(pool: Pool) -> None:
    query_id = uuid4()
    await accept(pool, query_id)
    await intake(pool, query_id)
    [lease] = await claim(pool)
    await settle(pool, (lease, Settled("delivered")))
    wanted = RedeliveryChoice(states=("delivered",), query_id=query_id)
    async with asyncio.TaskGroup() as group, pool.transaction() as tx:
        assert (await redelivery.redeliver(tx, wanted, limit=1)).count == 1
        deleting = group.create_task(delete(pool, query_id))
        await until_blocked(pool, deleting)

    deleted = await deleting
    assert deleted is not None
    assert deleted.withdrawn == 1
    assert await scheduled(pool) == set()


async def settle(pool: Pool, *ended: tuple[Leased, Settled]) -> set[UUID]:
    tried = Attempt(datetime.now(UTC), 12, status=200)
    async with pool.transaction() as tx:
        return await deliveries.settle(tx, [(lease, tried, outcome) for lease, outcome in ended])


async def test_outcomes_of_others_are_noted_though_one_is_deleted_meanwhile(pool: Pool) -> None:
    gone, kept = uuid4(), uuid4()
    for query_id in (gone, kept):
        await accept(pool, query_id)
    await intake(pool, gone, kept)
    leases = await claim(pool)
    async with asyncio.TaskGroup() as group, pool.transaction() as tx:
        await query_deletion.delete(tx, gone, owner="ann")
        settling = group.create_task(
            settle(pool, *((lease, Settled("delivered")) for lease in leases))
        )
        await until_blocked(pool, settling)

    assert await settling == {callback_id_of(kept)}
    noted = await pool.fetch("SELECT delivery_id FROM attempts")
    assert [row["delivery_id"] for row in noted] == [callback_id_of(kept)]


async def test_a_tombstone_stays_as_long_as_those_of_images(pool: Pool) -> None:
    query_id = uuid4()
    await accept(pool, query_id)
    await delete(pool, query_id)
    of_age = ages(RetentionSettings(_env_file=None, queries_days=1, tombstones_days=3))

    async def prune_at(days: int) -> int:
        await pool.execute(
            "UPDATE queries SET deleted_at = now() - $1::interval", timedelta(days=days)
        )
        rows = 0
        for table in ("queries", "deleted_queries"):
            async with pool.transaction() as tx:
                rows += (await retention.prune(tx, table, of_age[table])).rows
        return rows

    assert [await prune_at(days) for days in (2, 4)] == [0, 1]
    assert await accept(pool, query_id) == "new"
