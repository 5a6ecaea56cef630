"""Members are killed, stopped and resumed: each record has its effect exactly once."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.settings import DatabaseSettings, KafkaSettings
from tests.counting import (
    GROUP,
    Bench,
    eventually,
    open_bench,
    produce,
    record_of,
)
from tests.faults.harness.members import Members


@pytest.fixture
async def bench(kafka: KafkaSettings, database: DatabaseSettings) -> AsyncIterator[Bench]:
    """Open the parts to produce and to query; they do not join the group."""
    async with open_bench(kafka, database) as opened:
        yield opened


async def passed(bench: Bench) -> int:
    return sum((await bench.progress()).values())


async def all_passed(bench: Bench, count: int, *, within_s: float = 60.0) -> None:
    async def condition() -> bool:
        return await passed(bench) >= count

    await eventually(condition, within_s=within_s, what=f"{count} records passed")


async def at_work(members: Members, instance: str) -> None:
    """Wait until a member has claimed partitions; it then handles SIGTERM as well."""

    async def has_claimed() -> bool:
        return '"claimed"' in members.told(instance)

    await eventually(has_claimed, what=f"{instance} has claimed")


async def feed(bench: Bench, count: int, *, per_second: int) -> None:
    """Produce steadily."""
    step = max(1, per_second // 20)
    for start in range(0, count, step):
        await produce(
            bench.publisher, [record_of(n) for n in range(start, min(count, start + step))]
        )
        await asyncio.sleep(step / per_second)


async def test_kills_at_random_moments_leave_every_effect_exactly_once(
    bench: Bench, members: Members
) -> None:
    seed = random.randrange(10_000)
    print("seed", seed)  # noqa: T201  # shown when the test fails
    chance = random.Random(seed)
    members.settings = {"COUNTING_PREPARE_S": "0.01", "COUNTING_EMIT": "1"}
    members.start("a")
    members.start("b")
    feeding = asyncio.create_task(feed(bench, 6000, per_second=500))
    for _ in range(4):
        await asyncio.sleep(chance.uniform(1.0, 3.0))
        victim = chance.choice(["a", "b"])
        members.kill(victim)
        await asyncio.sleep(0.2)
        members.start(victim)
    await feeding
    await all_passed(bench, 6000)

    assert await bench.effects() == Counter(range(6000))


async def test_a_restarted_member_evicts_its_dead_self_and_goes_on_within_seconds(
    bench: Bench, members: Members
) -> None:
    members.settings = {"KAFKA_SESSION_TIMEOUT_MS": "45000"}
    members.start("a")
    await produce(bench.publisher, [record_of(n) for n in range(100)])
    await all_passed(bench, 100)
    await asyncio.sleep(1.5)  # its member id is stored shortly after the join
    members.kill("a")
    await produce(bench.publisher, [record_of(n) for n in range(100, 200)])

    members.start("a")
    await all_passed(bench, 200, within_s=30)  # the session alone would take 45 s

    assert "predecessor_evicted" in members.told("a")
    assert await bench.effects() == Counter(range(200))


async def test_a_record_that_kills_its_process_is_set_aside_after_five_deaths(
    bench: Bench, members: Members
) -> None:
    members.settings = {"CONSUMER_BATCH_MAX_RECORDS": "8"}
    records = [record_of(n, "crash" if n == 25 else "") for n in range(50)]
    await produce(bench.publisher, records)
    deaths = 0

    async def restarted_until_done() -> bool:
        nonlocal deaths
        if "a" not in members.running or members.exit_code("a") is not None:
            deaths += "a" in members.running
            members.start("a")
        return await passed(bench) >= 50

    await eventually(restarted_until_done, within_s=90)

    assert await bench.dead_letters() == {25: "process_crashed"}
    assert await bench.effects() == Counter(set(range(50)) - {25})
    assert 5 <= deaths <= 8, "five at the record itself, and those that still moved a little"
    assert members.terminate("a") == 0


async def test_a_zombie_that_wakes_up_before_its_transaction_is_rejected_by_the_guard(
    bench: Bench, members: Members
) -> None:
    assert await _zombie(bench, members) == Counter(range(200))


async def test_without_the_guard_the_same_zombie_duplicates_effects(
    bench: Bench, members: Members
) -> None:
    members.settings["COUNTING_UNGUARDED"] = "1"
    effects = await _zombie(bench, members)

    assert sum(effects.values()) > 200, "the control must fail, or the test above proves nothing"


async def _zombie(bench: Bench, members: Members) -> Counter[int]:
    """Stop a member with a batch in `prepare`, let another finish, resume the first."""
    members.settings |= {"COUNTING_PREPARE_S": "4", "CONSUMER_BATCH_MAX_RECORDS": "1000"}
    await produce(bench.publisher, [record_of(n) for n in range(200)])
    members.start("zombie")

    await at_work(members, "zombie")
    await asyncio.sleep(1.5)
    members.freeze("zombie")
    members.settings["COUNTING_PREPARE_S"] = "0"
    members.start("heir")
    await all_passed(bench, 200)
    members.thaw("zombie")

    async def noticed() -> bool:
        told = members.told("zombie")
        return '"fenced"' in told or '"assigned"' in told.partition('"claimed"')[2]

    await eventually(noticed)
    await asyncio.sleep(1)
    assert await bench.pool.fetchval("SELECT count(*) FROM progress WHERE grp = $1", GROUP) == 6
    return await bench.effects()


async def test_a_zombie_stopped_inside_its_transaction_holds_nobody_up_for_long(
    bench: Bench, members: Members
) -> None:
    members.settings |= {"COUNTING_FREEZE_AFTER_GUARD": "1"}
    await produce(bench.publisher, [record_of(n) for n in range(200)])
    members.start("zombie")

    async def frozen() -> bool:
        stat = Path(f"/proc/{members.running['zombie'].pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    await eventually(frozen)
    members.settings.pop("COUNTING_FREEZE_AFTER_GUARD")
    members.start("heir")
    await all_passed(bench, 200, within_s=20)  # the session is 6 s; the row locks end after 5 s
    members.thaw("zombie")
    await asyncio.sleep(3)

    assert await bench.effects() == Counter(range(200))
    await produce(bench.publisher, [record_of(n) for n in range(200, 300)])
    await all_passed(bench, 300, within_s=30)
    assert await bench.effects() == Counter(range(300))


@pytest.mark.slow
async def test_many_kills_over_minutes_leave_every_effect_exactly_once(
    bench: Bench, members: Members
) -> None:
    chance = random.Random(20261121)
    members.settings = {"COUNTING_PREPARE_S": "0.01", "COUNTING_EMIT": "1"}
    for instance in "abc":
        members.start(instance)
    feeding = asyncio.create_task(feed(bench, 60_000, per_second=500))
    for round_ in range(30):
        await asyncio.sleep(chance.uniform(0.5, 5.0))
        victim = chance.choice("abc")
        if round_ % 5 == 4:
            members.freeze(victim)
            await asyncio.sleep(8)  # longer than the session
            members.thaw(victim)
        else:
            members.kill(victim)
            await asyncio.sleep(chance.uniform(0, 1))
            members.start(victim)
    await feeding
    await all_passed(bench, 60_000, within_s=120)

    assert await bench.effects() == Counter(range(60_000))


async def test_members_come_and_go_gracefully_without_a_repeat_or_a_long_stall(
    bench: Bench, members: Members
) -> None:
    members.settings = {"COUNTING_PREPARE_S": "0.01", "KAFKA_SESSION_TIMEOUT_MS": "30000"}
    members.start("a")
    feeding = asyncio.create_task(feed(bench, 6000, per_second=400))
    await at_work(members, "a")
    members.start("b")
    members.start("c")
    await at_work(members, "b")
    await at_work(members, "c")
    await asyncio.sleep(1)  # while it processes, not during the join
    assert members.terminate("b") == 0
    await feeding
    await all_passed(bench, 6000)

    assert await bench.effects() == Counter(range(6000))

    async def two_own_all() -> bool:
        owners = await bench.pool.fetch("SELECT DISTINCT owner FROM progress")
        return len(owners) == 2 and all(row["owner"] for row in owners)

    await eventually(two_own_all, what="the two that are left own all partitions")
    gap = await bench.pool.fetchval(
        "SELECT max(extract(epoch FROM pause)) FROM (SELECT at - lag(at) OVER"
        " (PARTITION BY part ORDER BY at) AS pause FROM effects) AS pauses"
    )
    assert gap < 10  # far below the session's 30 s: no member waited for a time-out
