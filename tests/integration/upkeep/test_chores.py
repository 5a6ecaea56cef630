"""Chores under leases: one process does each at a time, and another one takes over."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from consumers.upkeep.chores import Chore, Upkeep
from core.storage import leases
from core.storage.pool import Pool
from core.transaction import Transaction

LEASE_S = 0.6


@dataclass
class Work:
    """A chore that records who does it, and whether two do it at once."""

    done_by: list[str] = field(default_factory=list)
    at_work: int = 0
    most_at_work: int = 0
    left: int = 10**9
    takes_s: float = 0.0

    async def is_needed(self, _connection: Transaction) -> bool:
        return self.left > 0

    def of(self, keeper: str, idle_s: float = 0.01) -> Chore:
        async def step() -> bool:
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
            await asyncio.sleep(self.takes_s)
            self.at_work -= 1
            self.done_by.append(keeper)
            self.left -= 1
            return self.left > 0

        return Chore("counts", idle_s, self.is_needed, step)


def upkeep(pool: Pool, keeper: str, chore: Chore) -> Upkeep:
    return Upkeep(pool, (chore,), lease_s=LEASE_S, keeper=keeper)


async def leases_of(pool: Pool) -> list[str]:
    return [row["keeper"] for row in await pool.fetch("SELECT keeper FROM leases")]


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_two_processes_never_do_a_chore_at_once(pool: Pool) -> None:
    work, stop = Work(takes_s=0.02), asyncio.Event()
    both = [upkeep(pool, keeper, work.of(keeper)) for keeper in ("a", "b")]

    async with asyncio.TaskGroup() as group:
        for one in both:
            group.create_task(one.run(stop))
        await eventually(lambda: len(work.done_by) >= 20)
        stop.set()

    assert work.most_at_work == 1


async def test_a_step_that_outlasts_its_lease_keeps_it(pool: Pool) -> None:
    work = Work(takes_s=LEASE_S * 2.5)
    ours = upkeep(pool, "a", work.of("a"))
    step = asyncio.create_task(ours.step(ours.chores[0]))
    await eventually(lambda: work.at_work == 1)

    other = upkeep(pool, "b", work.of("b"))
    while not step.done():
        assert not await other.step(other.chores[0])
        await asyncio.sleep(0.05)

    await step
    assert work.done_by == ["a"]


async def test_the_lease_of_a_process_that_was_killed_is_taken_over(pool: Pool) -> None:
    work, stop = Work(), asyncio.Event()
    assert await leases.take(pool, "counts", "killed", LEASE_S)
    other = upkeep(pool, "b", work.of("b"))
    assert not await other.step(other.chores[0])

    async with asyncio.TaskGroup() as group:
        group.create_task(other.run(stop))
        await eventually(lambda: "b" in work.done_by)
        stop.set()


async def test_a_process_that_stops_gives_its_leases_back(pool: Pool) -> None:
    work, stop = Work(), asyncio.Event()

    async with asyncio.TaskGroup() as group:
        group.create_task(upkeep(pool, "a", work.of("a")).run(stop))
        await eventually(lambda: work.done_by)
        held = await leases_of(pool)
        stop.set()

    assert held == ["a"]
    assert await leases_of(pool) == []


async def test_a_round_that_is_over_is_nobody_elses_until_the_next_is_due(pool: Pool) -> None:
    work = Work(left=1)
    first, second = (upkeep(pool, name, work.of(name, idle_s=60)) for name in ("a", "b"))

    assert not await first.step(first.chores[0])
    work.left = 1
    await asyncio.sleep(LEASE_S)

    assert not await second.step(second.chores[0])
    assert work.done_by == ["a"]


async def test_nothing_is_written_where_there_is_nothing_to_do(pool: Pool) -> None:
    work = Work(left=0)
    idle = upkeep(pool, "a", work.of("a"))

    assert not await idle.step(idle.chores[0])

    assert await leases_of(pool) == []
    assert work.done_by == []


async def test_what_postgresql_refuses_ends_no_process_and_no_other_chore(pool: Pool) -> None:
    work, stop, refused = Work(), asyncio.Event(), 0

    async def step() -> bool:
        nonlocal refused
        refused += 1
        await pool.execute("SELECT 1 / 0")
        return True

    chores = (Chore("tags", 0.01, work.is_needed, step), work.of("a"))
    async with asyncio.TaskGroup() as group:
        group.create_task(Upkeep(pool, chores, keeper="a", refused_s=0.01).run(stop))
        await eventually(lambda: refused >= 2 and len(work.done_by) >= 2)
        stop.set()

    assert await leases_of(pool) == []


async def test_a_bug_in_a_chore_is_raised_and_ends_the_process(pool: Pool) -> None:
    async def step() -> bool:
        raise ZeroDivisionError

    async def is_needed(_connection: Transaction) -> bool:
        return True

    broken = upkeep(pool, "a", Chore("counts", 0.01, is_needed, step))

    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(broken.run(asyncio.Event()), 10)

    assert raised.group_contains(ZeroDivisionError)
