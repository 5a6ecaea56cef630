"""Queries and the schedule of webhooks in PostgreSQL."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.storage.delivery import deliveries, lanes, listing, redelivery, targets
from core.storage.delivery.deliveries import Attempt, Leased, Settled
from core.storage.delivery.lanes import Room
from core.storage.delivery.redelivery import RedeliveryChoice
from core.storage.pool import Pool
from core.storage.queries import queries
from core.storage.queries.queries import NewAnswer
from schemas.query import QuerySubmitted
from schemas.token import Token
from tests.fakes import queries as queries_fake
from tests.fakes.queries import answered, asked

TRIED = Attempt(datetime.now(UTC), 12, status=500)


async def intake(pool: Pool, host: str, count: int = 1) -> list[UUID]:
    ids = [uuid4() for _ in range(count)]
    async with pool.transaction() as tx:
        await deliveries.schedule(
            tx, [queries_fake.webhook(i, uuid4(), None, host, f"https://{host}/x") for i in ids]
        )
    return ids


async def claim(
    pool: Pool, *, limit: int = 100, per_host: int = 4, rooms: dict[str, int] | None = None
) -> list[Leased]:
    named = rooms or {}
    room = Room(list(named), list(named.values()), [0] * len(named), per_host, total=limit)
    async with pool.transaction() as tx:
        return await lanes.claim(tx, room, token=uuid4(), lease_s=30)


async def settle(pool: Pool, *ended: tuple[Leased, Settled]) -> set[UUID]:
    async with pool.transaction() as tx:
        return await deliveries.settle(tx, [(lease, TRIED, outcome) for lease, outcome in ended])


async def test_the_first_answer_wins_also_when_two_come_at_once(pool: Pool) -> None:
    query_id, images = uuid4(), [uuid4() for _ in range(5)]

    async def answer(image_id: UUID) -> dict[UUID, NewAnswer]:
        async with pool.transaction() as tx:
            return await queries.answer(tx, [answered(query_id, image_id=image_id)])

    results = await asyncio.gather(*map(answer, images))

    winners = [n for n, new in enumerate(results) if new]
    assert len(winners) == 1
    status = await queries.status(pool, query_id)
    assert status is not None
    assert status.answer is not None
    assert status.answer["image_id"] == str(images[winners[0]])


async def accept(pool: Pool, query_id: UUID, fingerprint: bytes) -> str:
    return await queries.accept(
        pool,
        query_id=query_id,
        owner="ann",
        text="cats",
        callback_url="https://a/x",
        options={"top_n": 2},
        fingerprint=fingerprint,
    )


async def test_a_query_id_used_again_is_told_apart_by_its_fingerprint(pool: Pool) -> None:
    query_id = uuid4()

    verdicts = [await accept(pool, query_id, fingerprint) for fingerprint in (b"1", b"1", b"2")]

    assert verdicts == ["new", "same", "other"]
    status = await queries.status(pool, query_id)
    assert status is not None
    assert status.options == {"top_n": 2}


class PrunedInBetween(Pool):
    """A transaction in which the pruner deletes every query before it is first read."""

    pruned = False

    async def fetchrow(self, query: str, *args: Any) -> Any | None:
        if not self.pruned:
            self.pruned = True
            await self.execute("DELETE FROM queries")
        return await super().fetchrow(query, *args)


async def test_a_query_that_is_pruned_while_its_id_is_used_again_is_a_new_one(pool: Pool) -> None:
    query_id = uuid4()
    await accept(pool, query_id, b"1")

    pruned = PrunedInBetween(pool._inner, pool._acquire_timeout_s)

    assert await accept(pruned, query_id, b"2") == "new"


async def test_a_parked_query_is_ready_when_progress_passes_its_place(pool: Pool) -> None:
    token = Token("", "images.arrived.v1", 3, 41)
    waiting = asked(uuid4())
    async with pool.transaction() as tx:
        await queries.park(tx, [(waiting, token)], 60)

    async def ready() -> list[tuple[QuerySubmitted, bool]]:
        async with pool.transaction() as tx:
            return await queries.ready(tx, ["tagging", "tagging-bulk"], 10)

    async def move(offset: int) -> None:
        await pool.execute(
            "INSERT INTO progress (grp, topic, part, next_offset) "
            "VALUES ('tagging', 'images.arrived.v1', 3, $1) "
            "ON CONFLICT (grp, topic, part) DO UPDATE SET next_offset = $1",
            offset,
        )

    assert await ready() == []
    await move(41)
    assert await ready() == []
    assert not (await queries.passed(pool, [token], ["tagging"]))[0]
    await move(42)
    assert await ready() == [(waiting, False)]
    assert (await queries.passed(pool, [token], ["tagging"]))[0]


async def test_a_place_in_the_outbox_is_passed_once_the_row_was_published(pool: Pool) -> None:
    token = Token("", outbox_id=7)
    await pool.execute(
        "INSERT INTO progress (grp, topic, part, next_offset) "
        "VALUES ('tagging', 'images.arrived.v1', 3, 100)"
    )

    assert not (await queries.passed(pool, [token], ["tagging"]))[0]
    await pool.execute(
        "INSERT INTO outbox_places (outbox_id, topic, part, log_offset) "
        "VALUES (7, 'images.arrived.v1', 3, 99)"
    )

    assert (await queries.passed(pool, [token], ["tagging"]))[0]


async def test_a_parked_query_is_ready_when_its_time_is_over(pool: Pool) -> None:
    query_id = uuid4()
    waiting = asked(query_id)
    async with pool.transaction() as tx:
        await queries.park(tx, [(waiting, Token("", "t", 0, 1))], -1)

    async with pool.transaction() as tx:
        assert await queries.ready(tx, ["tagging", "tagging-bulk"], 10) == [(waiting, True)]
        await queries.unpark(tx, [query_id])
    async with pool.transaction() as tx:
        assert await queries.ready(tx, ["tagging", "tagging-bulk"], 10) == []


async def test_a_delivery_known_already_stays_as_it_is(pool: Pool) -> None:
    first = (await intake(pool, "a"))[0]
    leased = (await claim(pool))[0]

    async with pool.transaction() as tx:
        await deliveries.schedule(
            tx, [queries_fake.webhook(first, leased.query_id, None, "a", "https://a/x")]
        )

    assert await claim(pool) == []


async def test_a_long_backlog_of_one_host_leaves_the_others_their_share(pool: Pool) -> None:
    await intake(pool, "hole", 200)
    await intake(pool, "healthy", 3)

    first = await claim(pool, limit=10)
    second = await claim(pool, limit=10, rooms={"hole": 0, "healthy": 1})

    assert sorted(lease.target for lease in first) == ["healthy"] * 3 + ["hole"] * 4
    assert second == []


async def test_first_tries_come_before_retries(pool: Pool) -> None:
    old = await intake(pool, "a", 1)
    lease = (await claim(pool))[0]
    await settle(pool, (lease, Settled("due", datetime.now(UTC))))
    new = await intake(pool, "a", 1)

    assert [lease.delivery_id for lease in await claim(pool, limit=1)] == new
    assert [lease.delivery_id for lease in await claim(pool, limit=1)] == old


async def test_two_workers_never_lease_the_same_webhook(pool: Pool) -> None:
    await intake(pool, "a", 30)
    await intake(pool, "b", 30)

    leases = await asyncio.gather(*(claim(pool, limit=20, per_host=20) for _ in range(5)))

    ids = [lease.delivery_id for batch in leases for lease in batch]
    assert len(ids) == len(set(ids))


async def test_an_expired_lease_is_due_again_with_its_attempt_counted(pool: Pool) -> None:
    await intake(pool, "a")
    lost = (await claim(pool))[0]
    await pool.execute("UPDATE deliveries SET lease_until = now() - interval '1 s'")

    async with pool.transaction() as tx:
        assert await deliveries.expire_leases(tx, attempts=8) == (1, 0)
    again = (await claim(pool))[0]

    assert (lost.attempt, again.attempt) == (1, 2)
    assert await settle(pool, (lost, Settled("due", datetime.now(UTC)))) == set()
    assert await settle(pool, (again, Settled("delivered"))) == {again.delivery_id}
    assert await claim(pool) == []


async def test_a_2xx_counts_also_after_its_lease_ran_out(pool: Pool) -> None:
    await intake(pool, "a")
    lost = (await claim(pool))[0]
    await pool.execute("UPDATE deliveries SET lease_until = now() - interval '1 s'")
    async with pool.transaction() as tx:
        await deliveries.expire_leases(tx, attempts=8)

    assert await settle(pool, (lost, Settled("delivered"))) == {lost.delivery_id}

    assert await claim(pool) == []


async def leased_twice(pool: Pool) -> tuple[Leased, Leased]:
    """Return two leases of one webhook, the first of which has ended."""
    await intake(pool, "a")
    lost = (await claim(pool))[0]
    await pool.execute("UPDATE deliveries SET lease_until = now() - interval '1 s'")
    async with pool.transaction() as tx:
        await deliveries.expire_leases(tx, attempts=8)
    return lost, (await claim(pool))[0]


@pytest.mark.parametrize("late_first", [True, False])
async def test_a_late_2xx_counts_beside_the_return_of_the_lease_after_it(
    pool: Pool, *, late_first: bool
) -> None:
    lost, again = await leased_twice(pool)
    late, back = (lost, Settled("delivered")), (again, Settled("due", charged=False))

    ours = await settle(pool, *((late, back) if late_first else (back, late)))

    (row,) = await listing.of_query(pool, again.query_id)
    assert (ours, row.state) == ({again.delivery_id}, "delivered")


@pytest.mark.parametrize("late_first", [True, False])
async def test_of_two_failures_of_one_webhook_that_of_the_valid_lease_counts(
    pool: Pool, *, late_first: bool
) -> None:
    lost, again = await leased_twice(pool)
    late, valid = (lost, Settled("due", datetime.now(UTC))), (again, Settled("dead", reason="gone"))

    ours = await settle(pool, *((late, valid) if late_first else (valid, late)))

    (row,) = await listing.of_query(pool, again.query_id)
    assert (ours, row.state) == ({again.delivery_id}, "dead")


async def test_a_webhook_whose_workers_die_beyond_the_schedule_is_given_up(pool: Pool) -> None:
    await intake(pool, "a")
    expired = []
    for _ in range(3):
        (lost,) = await claim(pool)
        await pool.execute("UPDATE deliveries SET lease_until = now() - interval '1 s'")
        async with pool.transaction() as tx:
            expired.append(await deliveries.expire_leases(tx, attempts=2))

    (row,) = await listing.of_query(pool, lost.query_id)
    assert expired == [(1, 0), (1, 0), (0, 1)]
    assert (row.state, row.reason, row.attempt) == ("dead", "process_crashed", 3)
    assert row.finished_at is not None
    assert await claim(pool) == []
    assert await settle(pool, (lost, Settled("delivered"))) == {lost.delivery_id}, "it did arrive"


async def test_redelivery_begins_the_count_of_deaths_anew(pool: Pool) -> None:
    await intake(pool, "a")
    await claim(pool)
    await pool.execute("UPDATE deliveries SET lease_until = now() - interval '1 s', attempt = 9")
    async with pool.transaction() as tx:
        assert await deliveries.expire_leases(tx, attempts=2) == (0, 1)
        await redelivery.redeliver(tx, RedeliveryChoice(), limit=1)

    await claim(pool)
    await pool.execute("UPDATE deliveries SET lease_until = now() - interval '1 s'")
    async with pool.transaction() as tx:
        assert await deliveries.expire_leases(tx, attempts=2) == (1, 0)


async def test_a_lease_says_until_when_nobody_else_can_have_it(pool: Pool) -> None:
    await intake(pool, "a")

    (lease,) = await claim(pool)

    left = await pool.fetchval("SELECT lease_until - clock_timestamp() FROM deliveries")
    assert lease.deadline - time.monotonic() <= left.total_seconds() <= 30


async def test_many_outcomes_are_recorded_in_one_statement(pool: Pool) -> None:
    await intake(pool, "a", 3)
    good, bad, gone = await claim(pool)
    await pool.execute("DELETE FROM deliveries WHERE delivery_id = $1", gone.delivery_id)

    later = datetime.now(UTC) + timedelta(hours=1)
    ours = await settle(
        pool,
        (good, Settled("delivered")),
        (bad, Settled("due", later)),
        (gone, Settled("dead", reason="gone")),
    )

    assert ours == {good.delivery_id, bad.delivery_id}
    first = (await listing.of_query(pool, good.query_id))[0]
    second = (await listing.of_query(pool, bad.query_id))[0]
    assert (first.state, first.finished_at is not None, len(first.attempts)) == (
        "delivered",
        True,
        1,
    )
    assert (second.state, second.finished_at) == ("due", None)
    assert second.next_at is not None
    assert abs(second.next_at - later) < timedelta(seconds=1), "an hour from now, by either clock"


async def test_the_backlog_counts_what_is_due_now_and_how_long_the_oldest_waits(pool: Pool) -> None:
    await intake(pool, "a", 3)
    await intake(pool, "b", 1)
    await pool.execute("UPDATE deliveries SET next_at = now() - interval '90 s' WHERE target = 'b'")
    await intake(pool, "disabled", 2)
    await pool.execute(
        "UPDATE deliveries SET next_at = now() - interval '9 h' WHERE target = 'disabled'"
    )
    async with pool.transaction() as tx:
        await targets.disable(tx, "disabled", actor="ann")
    before = await listing.backlog(pool)
    await claim(pool, limit=1)

    due, oldest_s = await listing.backlog(pool)
    bounded, _ = await listing.backlog(pool, bound=2)

    assert before[0] == 4
    assert 90 <= before[1] < 3600, "what waits for a person is no backlog"
    assert (due, bounded) == (3, 2)
    assert 0 <= oldest_s < 60  # the oldest was claimed


async def test_a_tier_takes_no_more_than_its_share(pool: Pool) -> None:
    for number in range(5):
        await intake(pool, f"bad{number}", 2)
    await intake(pool, "good", 3)
    bad = [f"bad{number}" for number in range(5)]
    room = Room([*bad, "good"], [2] * 5 + [4], [2] * 5 + [0], 1, by_tier=(9, 9, 4), total=9)

    async with pool.transaction() as tx:
        leases = await lanes.claim(tx, room, token=uuid4(), lease_s=30)

    hosts = [lease.target for lease in leases]
    assert hosts.count("good") == 3
    assert len(hosts) == 7


async def test_a_disabled_target_is_left_alone_until_it_is_resumed(pool: Pool) -> None:
    await intake(pool, "a", 2)
    await intake(pool, "b")
    async with pool.transaction() as tx:
        assert await targets.disable(tx, "a", actor="operator", reason="they asked")
        assert not await targets.disable(tx, "a", actor="operator")

    held = await claim(pool)
    listed = await targets.list_targets(pool, disabled_only=True)
    async with pool.transaction() as tx:
        assert await targets.resume(tx, "a", actor="ann")
        assert not await targets.resume(tx, "a", actor="ann")
        assert not await targets.resume(tx, "never-seen", actor="ann")

    assert [lease.target for lease in held] == ["b"]
    assert [(one.target, one.reason, one.waiting) for one in listed] == [("a", "they asked", 2)]
    assert [lease.attempt for lease in await claim(pool)] == [1, 1]
    events = await pool.fetch("SELECT event, actor FROM target_events ORDER BY id")
    assert [tuple(event) for event in events] == [("disabled", "operator"), ("resumed", "ann")]


async def test_a_released_lease_is_not_charged(pool: Pool) -> None:
    await intake(pool, "a")
    lease = (await claim(pool))[0]

    before = await pool.fetchval("SELECT next_at FROM deliveries")

    given_back = await settle(pool, (lease, Settled("due", charged=False)))

    assert given_back == {lease.delivery_id}
    assert await pool.fetchval("SELECT next_at FROM deliveries") == before
    assert await pool.fetchval("SELECT count(*) FROM attempts") == 0
    assert (await claim(pool))[0].attempt == 1


async def test_a_lease_that_was_lost_is_not_given_back(pool: Pool) -> None:
    await intake(pool, "a")
    lost = (await claim(pool))[0]
    await pool.execute("UPDATE deliveries SET lease_until = now()")
    await deliveries.expire_leases(pool, attempts=8)
    again = (await claim(pool))[0]

    assert await settle(pool, (lost, Settled("due", charged=False))) == set()

    assert (again.attempt, await pool.fetchval("SELECT attempt FROM deliveries")) == (2, 2)


async def test_what_is_due_later_is_not_leased_now(pool: Pool) -> None:
    await intake(pool, "a")
    lease = (await claim(pool))[0]
    await settle(pool, (lease, Settled("due", datetime.now(UTC) + timedelta(seconds=60))))

    assert await claim(pool) == []
    wait = await pool.fetchval("SELECT next_at - now() FROM deliveries")
    assert 50 < wait.total_seconds() <= 60


async def test_a_querys_webhooks_are_told_with_every_attempt(pool: Pool) -> None:
    query_id, delivery_id = uuid4(), uuid4()
    async with pool.transaction() as tx:
        await queries.answer(tx, [answered(query_id)])
        await deliveries.schedule(
            tx, [queries_fake.webhook(delivery_id, query_id, "ann", "a", "https://a/x")]
        )
    for outcome in (Settled("due", datetime.now(UTC)), Settled("dead", reason="gone")):
        lease = (await claim(pool))[0]
        async with pool.transaction() as tx:
            await deliveries.settle(tx, [(lease, TRIED, outcome)])

    status = await queries.status(pool, query_id)

    assert status is not None
    delivery = status.deliveries[0]
    assert (delivery.state, delivery.reason, delivery.attempt) == ("dead", "gone", 2)
    assert [(a["attempt"], a["status"]) for a in delivery.attempts] == [(1, 500), (2, 500)]
    assert delivery.finished_at is not None


async def test_a_disabled_target_holds_no_other_of_its_host(pool: Pool) -> None:
    for target in ("https://a:443", "http://a:8080", "https://b:443"):
        await intake(pool, target)
    async with pool.transaction() as tx:
        assert await targets.disable(tx, "https://a:443", actor="breaker")

    others = await claim(pool)
    waiting = {one.target: one.waiting for one in await targets.list_targets(pool)}
    async with pool.transaction() as tx:
        assert await targets.resume(tx, "https://a:443", actor="operator")

    assert {lease.target for lease in others} == {"http://a:8080", "https://b:443"}
    assert waiting == {"https://a:443": 1}
    assert await redelivery.count(pool, RedeliveryChoice(("waiting",), host="a")) == {"waiting": 1}
    assert {lease.target for lease in await claim(pool)} == {"https://a:443"}


async def test_a_thousand_disabled_targets_beside_many_lanes_are_listed_at_once(pool: Pool) -> None:
    await pool.execute(
        """INSERT INTO deliveries (delivery_id, query_id, target, url, event, state)
           SELECT gen_random_uuid(), gen_random_uuid(), 'https://h' || n || ':443', 'x', '{}', 'due'
           FROM generate_series(1, 5000) n"""
    )
    await lanes.reopen_lanes(pool)
    await pool.execute(
        """INSERT INTO targets (target, disabled_at, actor)
           SELECT 'https://h' || n || ':443', now(), 'breaker' FROM generate_series(1, 1000) n"""
    )

    async with asyncio.timeout(5):  # 0.1 s; over half a minute where each reads all lanes
        listed = await targets.list_targets(pool)

    assert [one.waiting for one in listed] == [1] * 1000


@pytest.mark.parametrize(
    ("status", "state"), [(200, "delivered"), (299, "delivered"), (300, "due")]
)
async def test_an_answer_counts_from_its_status_line_on(
    pool: Pool, status: int, state: str
) -> None:
    (delivery_id,) = await intake(pool, "a")
    [lease] = await claim(pool)
    broken_behind = Attempt(datetime.now(UTC), 12, status=status, error="protocol")

    await deliveries.settle(pool, [(lease, broken_behind, Settled("due"))])

    assert state == await pool.fetchval(
        "SELECT state FROM deliveries WHERE delivery_id = $1", delivery_id
    )
