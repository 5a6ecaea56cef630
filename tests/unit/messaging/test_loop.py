"""The whole loop in memory, on a virtual clock: what real servers show too rarely, and a storm."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import (
    BlobStoreAway,
    ConfigurationError,
    PermanentError,
    ProcessCrashed,
)
from core.messaging.liveness import report_progress
from core.messaging.loop import _for_ever, run_role
from core.messaging.role import Item, Outcome, Received, Rejection
from core.messaging.watching.watchdog import Stalled
from core.offsets import Identity
from core.transaction import Transaction
from schemas.record import Record
from tests.counting import TOPIC
from tests.examples import examples
from tests.simulation.clock import virtual
from tests.simulation.database import Row
from tests.unit.messaging.world import PARTITIONS, NotingRole, World


@virtual
async def test_every_number_takes_effect_once_in_order_of_its_partition() -> None:
    world = World()

    await world.run(60)

    assert world.effects() == Counter(range(60))
    numbers = [effect.number for effect in world.database.effects]
    for remainder in range(3):
        mine = [number for number in numbers if number % 3 == remainder]
        assert mine == sorted(mine)
    assert world.client.committed == dict.fromkeys(PARTITIONS, 20)
    assert {row.owner for row in world.database.rows.values()} == {""}
    assert world.client.stopped


@virtual
async def test_the_next_batch_is_prepared_while_one_commits_and_only_one_at_a_time() -> None:
    world = World()
    world.role.prepare_s = world.role.apply_s = 0.1

    await world.run(60)

    assert world.role.prepared_while_applying > 0
    assert world.role.most_preparing == 1


@virtual
async def test_a_commit_whose_answer_was_lost_is_not_applied_again() -> None:
    world = World()
    world.connection.failures = ["", "after", "", "before", "after"]

    await world.run(60)

    assert world.effects() == Counter(range(60))
    assert world.metrics.consumer_recoveries.labels("g", "transaction")._value.get() == 3


@virtual
async def test_others_are_told_of_a_commit_after_it_and_never_of_one_that_failed() -> None:
    """The numbers that somebody who looks at the tables when told of each batch finds there."""
    world = World()
    world.connection.failures = ["", "before", "", "before"]
    seen: list[bool] = []

    class Telling(NotingRole):
        async def apply(self, items: Sequence[Item[int, int]], tx: Transaction) -> Outcome:
            mine = {item.received.event for item in items}
            outcome = await super().apply(items, tx)
            look = lambda: seen.append(mine <= world.effects().keys())  # noqa: E731
            return replace(outcome, notices=(look,))

    world.role = Telling()

    await world.run(60)

    assert world.effects() == Counter(range(60))
    assert world.metrics.consumer_recoveries.labels("g", "transaction")._value.get() == 2
    assert seen, "nobody was told"
    assert all(seen), "told before the commit"


@virtual
async def test_a_gap_in_the_log_is_passed() -> None:
    world = World()
    world.log.partitions[PARTITIONS[1]][3:6] = [None, None, None]

    await world.run(60)

    assert world.effects() == Counter(set(range(60)) - {10, 13, 16})
    assert world.metrics.consumer_gaps.labels("g")._value.get() == 3


@virtual
async def test_what_has_no_record_at_the_logs_end_is_passed_under_the_epoch() -> None:
    world = World()
    for partition in PARTITIONS:
        world.log.append(partition, None, None)
    world.log.append(PARTITIONS[0]._replace(number=3), None)

    await world.run(67)

    assert world.effects() == Counter(range(60))
    assert {row.next_offset for row in world.database.rows.values()} == {1, 22}
    assert world.role.batches.count(0) == 0, "the role is not asked about nothing"


@virtual
async def test_records_that_the_client_dropped_are_sought_and_are_no_gap() -> None:
    world = World()
    world.client.drops = 2

    await world.run(60)

    assert world.effects() == Counter(range(60))
    assert world.metrics.consumer_gaps.labels("g")._value.get() == 0


@virtual
async def test_who_is_no_member_any_more_never_raises_an_epoch() -> None:
    world = World()
    world.client.is_member = False
    stop = asyncio.Event()
    task = asyncio.create_task(run_role(world.parts(), stop))
    retries = world.metrics.consumer_retries.labels("g", "prove")
    async with asyncio.timeout(10):
        while retries._value.get() < 3:
            await asyncio.sleep(0.001)

    assert world.database.rows == {}, "not even a row was made"
    world.client.is_member = True
    async with asyncio.timeout(10):
        while world.passed < 60:
            await asyncio.sleep(0.001)
        stop.set()
        await task


@pytest.mark.parametrize("other", [Identity("cluster", "anew"), Identity("another", "topic")])
@virtual
async def test_a_topic_made_anew_under_a_running_member_ends_it_at_the_next_claim(
    other: Identity,
) -> None:
    world = World()
    task = asyncio.create_task(run_role(world.parts(), asyncio.Event()))
    async with asyncio.timeout(10):
        while world.passed < 60:
            await asyncio.sleep(0.001)
        world.client.identity = other
        await world.client.rebalance(PARTITIONS)
        with pytest.raises(ConfigurationError, match="photo-archive reset g"):
            await task


@virtual
async def test_while_the_topic_is_gone_nothing_is_claimed() -> None:
    world = World()
    stop = asyncio.Event()
    task = asyncio.create_task(run_role(world.parts(), stop))
    async with asyncio.timeout(10):
        while world.passed < 60:
            await asyncio.sleep(0.001)
        world.client.identity = Identity("cluster", "")
        await world.client.rebalance(PARTITIONS)
        retries = world.metrics.consumer_retries.labels("g", "claim")
        while retries._value.get() < 3:
            await asyncio.sleep(0.001)
        assert {row.epoch for row in world.database.rows.values()} == {1}
        stop.set()
        await task


@virtual
async def test_the_dead_predecessor_is_evicted_before_the_join() -> None:
    world = World()
    world.database.members["i"] = "the dead one"
    world.client.start_failures = 2

    await world.run(60)

    assert set(world.evicted) == {"the dead one"}
    assert world.database.members["i"] == "member-1"


@virtual
async def test_suspects_are_taken_one_by_one_and_written_down_before() -> None:
    world = World()
    world.database.rows[PARTITIONS[0]] = Row(PARTITIONS[0], 0, crashes=2, isolate_until=4)

    await world.run(60)

    assert world.attempts(PARTITIONS[0]) == [0, 1, 2, 3]
    alone = sum(len(world.attempts(partition)) for partition in PARTITIONS)
    assert set(world.role.batches[:alone]) == {1}
    assert max(world.role.batches) > 1, "afterwards in batches again"
    assert world.effects() == Counter(range(60))


@virtual
async def test_while_one_loop_isolates_no_other_of_the_process_has_a_batch_in_flight() -> None:
    suspected, other = World(), World()
    other.isolation, other.role = suspected.isolation, suspected.role
    suspected.role.prepare_s = suspected.role.apply_s = 0.01
    for partition in PARTITIONS:
        suspected.database.rows[partition] = Row(partition, 0, crashes=2, isolate_until=20)

    await asyncio.gather(suspected.run(60), other.run(60))

    assert suspected.effects() == other.effects() == Counter(range(60))
    assert suspected.role.batches.index(7) < 5, "they take turns"
    assert suspected.role.batches.count(1) >= 60
    assert suspected.role.most_preparing == 1
    assert suspected.role.prepared_while_applying == 0


@pytest.mark.parametrize(("crashes", "told"), [(5, [ProcessCrashed]), (7, [])])
@virtual
async def test_a_condemned_record_is_told_to_the_role_and_later_not_even_that(
    crashes: int, told: list[type[PermanentError]]
) -> None:
    world = World()
    world.database.rows[PARTITIONS[0]] = Row(
        PARTITIONS[0], 0, crashes=crashes, attempted_offset=0, isolate_until=1
    )

    await world.run(60)

    assert [type(error) for error in world.role.failures] == told
    assert list(world.database.letters.values()) == ["process_crashed"]
    assert world.effects() == Counter(set(range(60)) - {0})


@virtual
async def test_a_record_behind_a_gap_is_blamed_and_condemned_like_any_other() -> None:
    world = World()
    world.log.partitions[PARTITIONS[0]][4] = None
    world.database.rows[PARTITIONS[0]] = Row(
        PARTITIONS[0], 4, crashes=5, attempted_offset=4, isolate_until=7
    )

    await world.run(60)

    assert 4 in world.attempts(PARTITIONS[0]), "where the row stands, not the record"
    assert list(world.database.letters) == [(PARTITIONS[0], 5)]
    assert [type(error) for error in world.role.failures] == [ProcessCrashed]


@virtual
async def test_a_bug_of_the_role_ends_the_loop_without_a_clean_release() -> None:
    world = World()

    world.role = BrokenRole()
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(30):
            await run_role(world.parts(), asyncio.Event())

    assert world.effects() == Counter()
    assert {row.owner for row in world.database.rows.values()} == {"me"}
    assert world.client.stopped


class RejectingRole(NotingRole):
    """Finds something wrong with the contents of every record."""

    async def apply(self, items: Sequence[Item[int, int]], tx: Transaction) -> Outcome:
        error = PermanentError("a broken picture", reason="image_unreadable")
        received = [item.received for item in items]
        return Outcome((), tuple(Rejection(one.partition, one.offset, error) for one in received))


@virtual
async def test_what_a_role_finds_wrong_with_contents_halts_no_partition() -> None:
    world = World(dead_letter_window=10)
    world.role = RejectingRole()

    await world.run(60)

    assert len(world.database.letters) == 60
    assert set(world.database.letters.values()) == {"image_unreadable"}


@virtual
async def test_records_that_nobody_can_decode_halt_their_partition_and_no_other() -> None:
    world = World(dead_letter_window=10)
    bad = Record(TOPIC.name, None, (), b"nonsense")
    world.log.partitions[PARTITIONS[0]] = [bad] * 20

    await world.run(46)

    halted = world.metrics.consumer_halted.labels("g", TOPIC.name, "0", "dead_letter_budget")
    assert halted._value.get() == 1
    passed = [world.database.rows[partition].next_offset for partition in PARTITIONS]
    assert passed[1:] == [20, 20]
    assert 6 <= passed[0] < 20


class BrokenRole(NotingRole):
    """A bug in `apply`."""

    async def apply(self, items: Sequence[Item[int, int]], tx: Transaction) -> Outcome:
        raise ZeroDivisionError


class StuckRole(NotingRole):
    """A `prepare` that never returns."""

    async def prepare(self, batch: Sequence[Received[int]]) -> list[Item[int, int]]:
        await asyncio.Event().wait()
        return []


class SlowRole(NotingRole):
    """Works through its batch, a part at a time, longer than a stall lasts; then for ever."""

    parts: int = 0

    async def prepare(self, batch: Sequence[Received[int]]) -> list[Item[int, int]]:
        for _ in range(self.parts):
            await asyncio.sleep(0.55)
            report_progress()
        return [Item(received, received.event) for received in batch]


@virtual
async def test_slow_work_that_gets_on_is_left_alone() -> None:
    world = World(count=7, stall_limit_s=2.0)
    world.role = SlowRole()
    world.role.parts = 7  # 3.9 s in all
    stop = asyncio.Event()
    async with asyncio.timeout(20):
        task = asyncio.create_task(run_role(world.parts(), stop))
        while world.passed < 7:
            await asyncio.sleep(0.01)
            assert not task.done()
        stop.set()
        await task

    assert world.effects() == Counter(range(7))


class FailingRole(NotingRole):
    """Does a part of its batch, then fails, each time anew."""

    async def prepare(self, batch: Sequence[Received[int]]) -> list[Item[int, int]]:
        report_progress()
        await asyncio.sleep(0.05)
        raise BlobStoreAway("always")


@virtual
async def test_a_batch_that_never_gets_farther_ends_the_process() -> None:
    world = World(stall_limit_s=2.0)
    world.role = FailingRole()
    with pytest.raises(Stalled, match="no progress"):
        async with asyncio.timeout(30):
            await run_role(world.parts(), asyncio.Event())


@virtual
async def test_an_outage_of_the_broker_is_waited_for_with_lag_too() -> None:
    world = World(stall_limit_s=2.0)
    world.role = StuckRole()  # whoever waits in `prepare` does not say that the broker is away
    task = asyncio.create_task(run_role(world.parts(), asyncio.Event()))
    await asyncio.sleep(0.3)
    world.client.bounds_away = True
    await asyncio.sleep(3.0)
    assert not task.done()

    world.client.bounds_away = False
    with pytest.raises(Stalled):
        async with asyncio.timeout(30):
            await task


@virtual
async def test_a_partition_that_stands_still_without_a_reason_ends_the_process() -> None:
    world = World(stall_limit_s=2.0)
    world.role = StuckRole()
    with pytest.raises(Stalled, match="no progress"):
        async with asyncio.timeout(30):
            await run_role(world.parts(), asyncio.Event())


@virtual
async def test_an_outage_that_is_known_is_waited_for() -> None:
    world = World(stall_limit_s=2.0)
    world.sql.is_away = True
    stop = asyncio.Event()
    task = asyncio.create_task(run_role(world.parts(), stop))
    await asyncio.sleep(3.0)
    assert not task.done()

    world.sql.is_away = False
    async with asyncio.timeout(10):
        while world.passed < 60:
            await asyncio.sleep(0.001)
        stop.set()
        await task
    assert world.effects() == Counter(range(60))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(15, 300), deadline=None)
def test_whatever_fails_whenever_every_number_takes_effect_once(seed: int) -> None:
    _storm(Random(seed))


@virtual
async def _storm(random: Random) -> None:
    """Rebalances, thieves, lost commits, outages and refusals at random moments."""
    world = World(count=90, batch_max_records=random.randint(1, 12))
    world.role.emit = True
    world.role.prepare_s = random.choice([0, 0.001, 0.003])
    world.client.fetch_latency_s = random.choice([0, 0.002])
    bad = random.sample(range(90), 3)
    for number in bad:
        partition = PARTITIONS[number % 3]
        world.log.partitions[partition][number // 3] = Record(TOPIC.name, None, (), b"nonsense")

    await world.run(90, disturb=asyncio.create_task(_disturb(world, random)))

    assert world.effects() == Counter(set(range(90)) - set(bad))
    assert world.database.letters.keys() == {(PARTITIONS[n % 3], n // 3) for n in bad}
    told = {record.value for record in world.publisher.published if record.topic == "out"}
    rows = [row for _, row in world.database.outbox.values()]
    left = {row.record.value for row in rows if row.record.topic == "out"}
    assert told | left == {str(n).encode() for n in set(range(90)) - set(bad)}


async def _disturb(world: World, random: Random) -> None:
    while world.client.listener is None:
        await asyncio.sleep(0.001)
    for _ in range(12):
        await asyncio.sleep(random.choice([0, 0.001, 0.003]))
        match random.randrange(5):
            case 0:
                await world.client.rebalance(random.sample(PARTITIONS, random.randint(0, 3)))
            case 1:
                world.connection.failures = random.choices(["", "before", "after"], k=3)
            case 2:
                world.sql.is_away = not world.sql.is_away
            case 3:
                world.publisher.away = 2
            case _:
                world.client.is_member = not world.client.is_member
    world.sql.is_away, world.client.is_member = False, True
    await world.client.rebalance(PARTITIONS)


@virtual
async def test_the_database_being_away_at_a_revocation_does_not_end_the_process() -> None:
    world = World()
    stop = asyncio.Event()
    task = asyncio.create_task(run_role(world.parts(), stop))
    async with asyncio.timeout(10):
        while world.passed < 60:
            await asyncio.sleep(0.001)
        world.sql.is_away = True
        await world.client.rebalance(PARTITIONS)
        await asyncio.sleep(0.02)
        assert not task.done()
        world.sql.is_away = False
        while {row.epoch for row in world.database.rows.values()} != {2}:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        stop.set()
        await task
    assert {row.owner for row in world.database.rows.values()} == {""}, "released at the end"


@virtual
async def test_a_transaction_that_takes_too_long_is_given_up_and_done_again() -> None:
    world = World(count=6)
    world.role.apply_s = 2 * world.limits.transaction_deadline_s
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    task = asyncio.create_task(run_role(world.parts(), stop))
    recoveries = world.metrics.consumer_recoveries.labels("g", "transaction")
    async with asyncio.timeout(60):
        while not recoveries._value.get():
            await asyncio.sleep(0.01)
        assert loop.time() < 1.5 * world.limits.transaction_deadline_s
        assert world.effects() == Counter()
        world.role.apply_s = 0.001
        while world.passed < 6:
            await asyncio.sleep(0.01)

    assert world.effects() == Counter(range(6))
    stop.set()
    await task


@virtual
async def test_events_leave_at_once_after_the_commit_and_not_by_the_sweeper() -> None:
    world = World()
    world.role.emit = True
    world.limits = replace(world.limits, sweep_interval_s=1000.0)

    await world.run(60)

    assert len(world.publisher.published) == 60
    assert world.metrics.outbox_swept._value.get() == 0


@virtual
async def test_a_task_that_is_cancelled_by_nobody_ends_the_process() -> None:
    """A task group takes it for somebody's wish; aiokafka raises it by itself (`_abandon`)."""

    async def dispatch() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="dispatcher was cancelled by nobody"):
        await _for_ever("dispatcher", dispatch())
