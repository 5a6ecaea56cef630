"""Lanes: a claim finds every due webhook, at a cost independent of other hosts."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

from core.storage.delivery import deliveries, lanes
from core.storage.delivery.deliveries import Attempt, Leased, Settled
from core.storage.delivery.lanes import Room
from core.storage.pool import Pool
from tests.fakes import queries as queries_fake

TRIED = Attempt(datetime.now(UTC), 12, status=500)
#: Webhooks that no claim would find, since they are due earlier than their lane says.
HIDDEN = """
SELECT count(*) FROM deliveries d
LEFT JOIN lanes l ON (l.target, l.sender, l.line, l.again)
                   = (d.target, d.sender, d.line, d.attempt > 0)
WHERE d.state = 'due' AND (l.due_at IS NULL OR l.due_at > d.next_at)
"""


async def intake(pool: Pool, hosts: Sequence[str]) -> None:
    rows = [queries_fake.webhook(uuid4(), uuid4(), None, h, f"https://{h}/x") for h in hosts]
    async with pool.transaction() as tx:
        await deliveries.schedule(tx, rows)


async def claim(pool: Pool, room: Room) -> list[Leased]:
    async with pool.transaction() as tx:
        return await lanes.claim(tx, room, token=uuid4(), lease_s=30)


async def settle(pool: Pool, leases: Sequence[Leased], *, after_s: float | None) -> None:
    if not leases:
        return
    at = None if after_s is None else datetime.now(UTC) + timedelta(seconds=after_s)
    outcome = Settled("delivered" if at is None else "due", at)
    async with pool.transaction() as tx:
        await deliveries.settle(tx, [(lease, TRIED, outcome) for lease in leases])


async def blocks_read(pool: Pool, room: Room) -> int:
    """Return the number of pages that a claim reads."""
    arguments = lanes.arguments(room, uuid4(), 30)
    async with pool.transaction() as tx:
        plan = await tx.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {lanes.CLAIM}", *arguments
        )
    top: dict[str, Any] = json.loads(plan)[0]["Plan"]
    return int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"])


async def test_hosts_that_wait_for_later_cost_a_claim_nothing(pool: Pool) -> None:
    await intake(pool, [f"h{number}" for number in range(3000)])
    await pool.execute("UPDATE deliveries SET attempt = 1, next_at = now() + interval '1 hour'")
    await lanes.reopen_lanes(pool)
    await pool.execute("UPDATE lanes SET due_at = now() + interval '1 hour'")
    await intake(pool, ["fresh"])

    assert await blocks_read(pool, Room(new_target=2)) < 500


async def test_hosts_that_are_due_cost_no_more_than_there_is_room_for(pool: Pool) -> None:
    await intake(pool, [f"h{number}" for number in range(3000)])
    room = Room(new_target=2, by_tier=(10, 10, 10), total=10)

    assert await blocks_read(pool, room) < 1000
    assert len(await claim(pool, room)) == 10


async def test_a_backlog_that_statistics_know_nothing_of_costs_a_claim_nothing(pool: Pool) -> None:
    hosts = [f"h{number}" for number in range(20)]
    await intake(pool, hosts * 50)
    await pool.execute("UPDATE deliveries SET state = 'delivered', finished_at = now()")
    await pool.execute("VACUUM ANALYZE deliveries")
    await intake(pool, hosts * 150)
    room = Room(hosts, [8] * 20, [0] * 20, by_tier=(25, 1, 1), total=25)

    assert await blocks_read(pool, room) < 1000
    assert len(await claim(pool, room)) == 25


async def test_a_host_that_answers_is_found_behind_any_number_of_others(pool: Pool) -> None:
    await intake(pool, [f"new{number}" for number in range(300)] + ["bad"] * 50)
    await intake(pool, ["good"] * 3)
    room = Room(["bad", "good"], [4, 4], [2, 0], 2, by_tier=(9, 4, 2), total=9)

    hosts = [lease.target[:3] for lease in await claim(pool, room)]

    assert (hosts.count("goo"), hosts.count("new"), hosts.count("bad")) == (3, 4, 2)


async def test_hosts_without_room_hide_no_others(pool: Pool) -> None:
    full = [f"full{number}" for number in range(200)]
    await intake(pool, full)
    await intake(pool, ["late"])
    room = Room(full, [0] * 200, [2] * 200, 2, by_tier=(5, 5, 5), total=5)

    assert [lease.target for lease in await claim(pool, room)] == ["late"]


async def test_first_tries_and_retries_of_a_host_share_its_room(pool: Pool) -> None:
    await intake(pool, ["a"] * 3)
    await settle(pool, await claim(pool, Room(new_target=3)), after_s=0)
    await intake(pool, ["a"])

    leases = await claim(pool, Room(new_target=2))

    assert [lease.attempt for lease in sorted(leases, key=lambda one: one.attempt)] == [1, 2]


async def test_a_webhook_that_comes_while_its_lane_is_emptied_is_found(pool: Pool) -> None:
    await intake(pool, ["a"])
    late = queries_fake.webhook(uuid4(), uuid4(), None, "a", "https://a/x")

    async with pool.transaction() as tx:
        await deliveries.schedule(tx, [late])
        first = await claim(pool, Room(new_target=9))

    assert len(first) == 1
    assert [lease.delivery_id for lease in await claim(pool, Room(new_target=9))] == [late[0]]


async def test_no_webhook_is_hidden_whoever_writes_at_once(pool: Pool) -> None:
    names = ["a", "b", "c"]
    sent: set[UUID] = set()

    async def make(seed: int) -> None:
        chance = Random(seed)
        for _ in range(40):
            await intake(pool, chance.choices(names, k=chance.randint(1, 3)))

    async def work(seed: int) -> None:
        chance = Random(seed)
        for _ in range(60):
            leases = await claim(pool, Room(new_target=chance.randint(1, 4)))
            again = [lease for lease in leases if chance.random() < 0.4]
            done = [lease for lease in leases if lease not in again]
            await settle(pool, again, after_s=chance.choice([0.0, 0.01, 3600.0]))
            await settle(pool, done, after_s=None)
            sent.update(lease.delivery_id for lease in done)
            assert await pool.fetchval(HIDDEN) == 0

    await asyncio.gather(*map(make, range(3)), *map(work, range(3, 7)))

    left = await pool.fetchval("SELECT count(*) FROM deliveries WHERE state = 'due'")
    made = await pool.fetchval("SELECT count(*) FROM deliveries")
    assert made == len(sent) + left


async def test_a_lane_is_forgotten_when_nothing_was_left_in_it_for_a_while(pool: Pool) -> None:
    await intake(pool, ["a", "b"])
    retried, done = sorted(await claim(pool, Room(new_target=9)), key=lambda one: one.target)
    await settle(pool, [done], after_s=None)
    await settle(pool, [retried], after_s=3600)
    await lanes.reopen_lanes(pool)
    fresh = await pool.fetchval("SELECT count(*) FROM lanes WHERE due_at = 'infinity'")
    await pool.execute("UPDATE lanes SET served_at = served_at - interval '11 minutes'")

    await lanes.reopen_lanes(pool)

    rows = await pool.fetch("SELECT target, again, due_at < 'infinity' AS later FROM lanes")
    assert fresh == 2
    assert [tuple(row) for row in rows] == [("a", True, True)]


async def put(pool: Pool, target: str, owner: str | None, *urls: str) -> None:
    async with pool.transaction() as tx:
        rows = [queries_fake.webhook(uuid4(), uuid4(), owner, target, url) for url in urls]
        await deliveries.schedule(tx, rows)


async def one_by_one(pool: Pool, target: str, count: int) -> list[Leased]:
    """Claim one webhook after the other, as a half-open breaker does."""
    room = Room([target], [1], [2], 0, by_tier=(9, 9, 9), total=9)
    taken: list[Leased] = []
    for _ in range(count):
        taken += await claim(pool, room)
    return taken


async def test_owners_take_turns_however_many_webhooks_and_addresses_one_of_them_has(
    pool: Pool,
) -> None:
    await put(pool, "a", "dead", *[f"https://a/{number}" for number in range(60)])
    first = await one_by_one(pool, "a", 3)
    await put(pool, "a", "ann", "https://a/ann")
    await put(pool, "a", "bob", "https://a/bob", "https://a/bob")

    turns = [lease.owner for lease in await one_by_one(pool, "a", 5)]

    assert [lease.owner for lease in first] == ["dead"] * 3
    assert turns == ["ann", "bob", "dead", "bob", "dead"]


async def test_addresses_of_one_owner_take_turns_and_those_of_nobody_too(pool: Pool) -> None:
    for owner in ("ann", None):
        target = f"at-{owner}"
        await put(pool, target, owner, *["https://a/dead"] * 20)
        await put(pool, target, owner, "https://a/healthy")

        turns = [lease.url for lease in await one_by_one(pool, target, 3)]

        assert sorted(turns[:2]) == ["https://a/dead", "https://a/healthy"], owner
        assert turns[2] == "https://a/dead"


async def test_first_tries_of_one_sender_do_not_keep_the_retry_of_another_waiting(
    pool: Pool,
) -> None:
    await put(pool, "a", "ann", "https://a/ann")
    await settle(pool, await one_by_one(pool, "a", 1), after_s=0)
    await put(pool, "a", "dead", *["https://a/dead"] * 20)

    turns = [(lease.owner, lease.attempt) for lease in await one_by_one(pool, "a", 3)]

    assert turns == [("dead", 1), ("ann", 2), ("dead", 1)]


async def test_the_first_try_of_an_address_comes_before_its_retry(pool: Pool) -> None:
    await put(pool, "a", "ann", "https://a/ann")
    await settle(pool, await one_by_one(pool, "a", 1), after_s=0)
    await put(pool, "a", "ann", "https://a/ann")

    assert [lease.attempt for lease in await one_by_one(pool, "a", 2)] == [1, 2]


async def test_a_room_for_several_is_shared_between_owners(pool: Pool) -> None:
    await put(pool, "a", "dead", *[f"https://a/{number}" for number in range(60)])
    await put(pool, "a", "ann", *["https://a/ann"] * 9)

    leases = await claim(pool, Room(["a"], [6], [0], by_tier=(9, 9, 9), total=9))

    assert sorted(str(lease.owner) for lease in leases) == ["ann"] * 3 + ["dead"] * 3


async def test_what_one_sender_may_not_have_is_for_the_others(pool: Pool) -> None:
    await put(pool, "a", "dead", *["https://a/dead"] * 9)
    flights = {("a", "dead"): 2}
    room = Room(["a"], [3], [2], shares=[2], flights=flights, by_tier=(9, 9, 9), total=9)

    before = await claim(pool, room)
    await put(pool, "a", "ann", *["https://a/ann"] * 3)

    assert before == []
    assert [lease.owner for lease in await claim(pool, room)] == ["ann"] * 2


async def test_who_has_the_fewest_attempts_in_flight_goes_first(pool: Pool) -> None:
    await put(pool, "a", "slow", *["https://a/slow"] * 9)
    await put(pool, "a", "ann", *["https://a/ann"] * 9)
    flights = {("a", "slow"): 3}
    room = Room(["a"], [4], [0], shares=[7], flights=flights, by_tier=(9, 9, 9), total=9)

    leases = await claim(pool, room)

    assert sorted(str(lease.owner) for lease in leases) == ["ann"] * 3 + ["slow"]


REFUSED = Attempt(datetime.now(UTC), 3, error="refused")
DELAYS_S = (0.0, 5.0, 3600.0, 86400.0)


async def waits_s(pool: Pool) -> list[float]:
    """Return how long each webhook still waits, by owner."""
    rows = await pool.fetch(
        "SELECT extract(epoch FROM next_at - now())::float8 AS s FROM deliveries ORDER BY owner"
    )
    return [max(0.0, round(row["s"], -1)) for row in rows]


async def test_retries_that_wait_for_a_target_are_due_when_it_answers_somebody(pool: Pool) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    for owner, attempt in (
        ("a refused", REFUSED),
        ("b timeout", Attempt(datetime.now(UTC), 3, error="timeout")),
        ("c answered 500", TRIED),
        ("d own fault", Attempt(datetime.now(UTC), 3, error="internal_error")),
    ):
        await put(pool, "a", owner, "https://a/x")
        (lease,) = await one_by_one(pool, "a", 1)
        await deliveries.settle(pool, [(lease, attempt, Settled("due", later))])
    await put(pool, "b", "e other target", "https://b/x")
    (lease,) = await one_by_one(pool, "b", 1)
    await deliveries.settle(pool, [(lease, REFUSED, Settled("due", later))])

    forward = await deliveries.bring_forward(
        pool, "a", after_s=DELAYS_S, kinds=["refused", "timeout"]
    )

    assert forward == 2
    assert await waits_s(pool) == [0, 0, 3600, 3600, 3600]
    assert await pool.fetchval(HIDDEN) == 0
    assert len(await one_by_one(pool, "a", 3)) == 2


async def test_a_retry_that_is_brought_forward_still_waits_as_long_as_the_last_one_did(
    pool: Pool,
) -> None:
    await put(pool, "a", "ann", "https://a/x")
    for wait_s in (0.0, 0.0, 86400.0):
        (lease,) = await one_by_one(pool, "a", 1)
        at = datetime.now(UTC) + timedelta(seconds=wait_s)
        await deliveries.settle(
            pool, [(lease, Attempt(datetime.now(UTC), 3, error="refused"), Settled("due", at))]
        )

    for _ in range(3):  # and not sooner with each answer
        await deliveries.bring_forward(pool, "a", after_s=DELAYS_S, kinds=["refused"])

    assert await waits_s(pool) == [3600]


async def test_what_sql_typed_by_hand_made_due_is_found_once_its_lane_was_opened(
    pool: Pool,
) -> None:
    await intake(pool, ["a", "b"])
    await settle(pool, await claim(pool, Room(new_target=9)), after_s=None)
    await pool.execute("UPDATE deliveries SET state = 'due', next_at = now() - interval '1 day'")
    assert await claim(pool, Room(new_target=9)) == []

    await lanes.reopen_lanes(pool)

    assert await pool.fetchval(HIDDEN) == 0
    assert len(await claim(pool, Room(new_target=9))) == 2


async def test_lanes_that_are_right_are_not_written_when_all_are_opened(pool: Pool) -> None:
    await intake(pool, ["right", "late"])
    await pool.execute("UPDATE lanes SET due_at = now() + interval '1 hour' WHERE target = 'late'")
    versions = "SELECT target, xmin::text FROM lanes ORDER BY target DESC"
    right, late = (tuple(row) for row in await pool.fetch(versions))

    await lanes.reopen_lanes(pool)

    assert tuple((await pool.fetch(versions))[0]) == right
    assert tuple((await pool.fetch(versions))[1]) != late
    assert await pool.fetchval(HIDDEN) == 0
