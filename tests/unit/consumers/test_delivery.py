"""The delivery role and its lanes, with a schedule in memory."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from uuid import UUID, uuid4

from consumers.delivery.attempts import Tried
from consumers.delivery.lanes import LaneLimits, Lanes
from consumers.delivery.pacing import Pacer
from consumers.delivery.recording import Outcomes
from consumers.delivery.role import DeliveryRole
from consumers.delivery.target_pace import PaceLimits, Tier
from core.errors import BlobStoreAway, DatabaseAway, RecordRefused, TransientError
from core.messaging.role import Received
from core.storage.delivery.deliveries import Attempt, Leased, Settled
from core.storage.delivery.lanes import Room
from core.transaction import Transaction
from schemas.callback import AnswerType, CallbackRequested, callback_id_of
from schemas.record import Partition, Record
from schemas.topics import CALLBACKS_REQUESTED
from tests.fakes.transactions import NoDatabase, NoTransaction


@dataclass
class Rows:
    rows: dict[UUID, CallbackRequested] = field(default_factory=dict)

    async def schedule(self, tx: Transaction, events: Mapping[UUID, CallbackRequested]) -> None:
        self.rows = dict(events) | self.rows


def callback(event_id: str, query_id: UUID, offset: int = 0) -> Received[CallbackRequested]:
    return Received(
        event=CallbackRequested(
            query_id=query_id,
            type=AnswerType.NO_MATCH,
            url="https://a.example/x",
            text="cat",
            answered_at=datetime.now(UTC),
        ),
        partition=Partition(CALLBACKS_REQUESTED.name, 0),
        offset=offset,
        record=Record(CALLBACKS_REQUESTED.name, None, (("ce_id", event_id.encode()),), b""),
        timestamp_ms=0,
    )


async def test_a_callback_published_twice_becomes_one_row_and_wakes_the_lanes_afterwards() -> None:
    rows, woken = Rows(), asyncio.Event()
    role = DeliveryRole(rows.schedule, woken.set)
    query_id = uuid4()
    event_id = callback_id_of(query_id)
    batch = [callback(str(event_id), query_id, n) for n in range(2)]

    outcome = await role.apply(await role.prepare(batch), NoTransaction())

    assert list(rows.rows) == [event_id]
    assert rows.rows[event_id].query_id == query_id
    assert not woken.is_set(), "the rows are not committed yet: a look now finds nothing"
    for tell in outcome.notices:
        tell()
    assert woken.is_set()


async def test_of_two_requests_under_one_id_the_first_counts_also_within_one_batch() -> None:
    rows = Rows()
    role = DeliveryRole(rows.schedule, lambda: None)
    query_id = uuid4()
    first = callback(str(callback_id_of(query_id)), query_id)
    owned = replace(first, event=first.event.model_copy(update={"owner": "ann"}))

    await role.apply(await role.prepare([owned, replace(first, offset=1)]), NoTransaction())

    assert [event.owner for event in rows.rows.values()] == ["ann"]


async def test_a_foreign_event_without_our_id_still_gets_one_id_per_answer() -> None:
    rows = Rows()
    role = DeliveryRole(rows.schedule, lambda: None)
    query_id = uuid4()

    await role.apply(await role.prepare([callback("whatever", query_id)]), NoTransaction())

    assert list(rows.rows) == [callback_id_of(query_id)]


def lease(host: str, sender: str = "ann") -> Leased:
    return Leased(
        delivery_id=uuid4(),
        query_id=uuid4(),
        owner=sender,
        sender=sender,
        target=host,
        url=f"https://{host}/x",
        event="{}",
        attempt=1,
        made=1,
        created_at=datetime.now(UTC),
        token=uuid4(),
        deadline=inf,
    )


@dataclass
class MemorySchedule:
    """A schedule that claims as the SQL does: within the rooms of hosts and tiers, in order."""

    due: list[Leased]
    settled: list[tuple[Leased, Tried]] = field(default_factory=list)
    released: list[Leased] = field(default_factory=list)
    disabled: dict[str, str] = field(default_factory=dict)
    forward: list[str] = field(default_factory=list)
    writes: int = 0
    refusals: int = 0
    poisoned: str = ""
    gate: asyncio.Event | None = None

    async def claim(self, connection: Transaction, rooms: Room) -> Sequence[Leased]:
        taken: list[Leased] = []
        room = dict(zip(rooms.targets, rooms.rooms, strict=True))
        tiers = dict(zip(rooms.targets, rooms.tiers, strict=True))
        shares = dict(zip(rooms.targets, rooms.shares, strict=True))
        flights = Counter(rooms.flights)
        left = list(rooms.by_tier)
        for lease in list(self.due):
            tier = tiers.get(lease.target, Tier.NEW)
            free = room.setdefault(lease.target, rooms.new_target)
            place = (lease.target, lease.sender)
            if flights[place] >= shares.get(lease.target, rooms.new_target):
                continue
            if lease.target in self.disabled or not free or not left[tier]:
                continue
            if len(taken) < rooms.total:
                room[lease.target] -= 1
                left[tier] -= 1
                flights[place] += 1
                taken.append(lease)
                self.due.remove(lease)
        return taken

    async def expire_leases(self, tx: Transaction) -> tuple[int, int]:
        return 0, 0

    async def backlog(self, tx: Transaction) -> tuple[int, float]:
        return len(self.due), 0.0

    async def settle(self, connection: Transaction, outcomes: Outcomes) -> int:
        if self.gate is not None:
            await self.gate.wait()
        if self.refusals:
            self.refusals -= 1
            raise DatabaseAway("away")
        if self.poisoned and any(tried.attempt.detail == self.poisoned for _, tried in outcomes):
            raise RecordRefused("refused")
        self.writes += 1
        for lease, tried in outcomes:
            if tried.settled.charged:
                self.settled.append((lease, tried))
            else:
                self.released.append(lease)
        return 0

    async def disable(self, tx: Transaction, target: str, reason: str) -> None:
        self.disabled[target] = reason

    async def bring_forward(self, tx: Transaction, target: str) -> int:
        self.forward.append(target)
        return 0


class NoWatch:
    """A watch that does nothing."""

    def tried(self, target: str, tried: Tried) -> None: ...

    def paced(self, pacer: Pacer) -> None: ...

    def waiting(self, due: int, oldest_s: float) -> None: ...


@dataclass
class Targets:
    """A courier that answers at once, except for hosts that never answer."""

    black_holes: str = "hole"
    own_fault: bool = False
    buggy: str = "bug"
    status: int = 200
    detail: str | None = None
    most: dict[str, int] = field(default_factory=dict)
    now: dict[str, int] = field(default_factory=dict)
    asked: int = 0

    async def deliver(self, lease: Leased) -> Tried:
        self.asked += 1
        self.now[lease.target] = self.now.get(lease.target, 0) + 1
        self.most[lease.target] = max(self.most.get(lease.target, 0), self.now[lease.target])
        try:
            if lease.target.startswith(self.black_holes):
                await asyncio.Event().wait()
            if self.own_fault:
                raise BlobStoreAway("no store")
            if lease.target == self.buggy:
                raise ZeroDivisionError
            await asyncio.sleep(0)
            state = "delivered" if self.status == 200 else "due"
            attempt = Attempt(datetime.now(UTC), 0, status=self.status, detail=self.detail)
            return Tried(attempt, Settled(state))
        finally:
            self.now[lease.target] -= 1

    def failed(self, lease: Leased, error: Exception) -> Tried:
        charged = not isinstance(error, TransientError)
        attempt = Attempt(datetime.now(UTC), 0, error=type(error).__name__)
        return Tried(attempt, Settled("due", charged=charged), own_fault=True)


def lanes(
    schedule: MemorySchedule,
    targets: Targets,
    workers: int = 16,
    disable_after: int = 0,
    ahead: int = 0,
) -> Lanes:
    pace = PaceLimits(workers, per_target=4, ahead=ahead, slow_s=0.02, open_s=0.01)
    limits = LaneLimits(
        pace, interval_s=0.01, drain_s=0.05, record_s=5, disable_after=disable_after
    )
    return Lanes(NoDatabase(), schedule, targets, limits, NoWatch())


async def run_until(lane: Lanes, condition: Callable[[], bool]) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(lane.run(stop))
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)
    stop.set()
    await asyncio.wait_for(task, 5)


async def test_a_black_hole_takes_no_more_than_its_own_lane() -> None:
    schedule = MemorySchedule(
        [lease("hole") for _ in range(50)] + [lease("healthy") for _ in range(100)]
    )
    targets = Targets()

    await run_until(lanes(schedule, targets), lambda: len(schedule.settled) == 100)

    assert {lease.target for lease, _ in schedule.settled} == {"healthy"}
    assert targets.most["hole"] <= 2
    assert targets.most["healthy"] == 3, "one of four connections is for another sender"


async def test_more_black_holes_than_workers_leave_room_for_hosts_that_answered_before() -> None:
    schedule = MemorySchedule([lease("healthy") for _ in range(3)])
    targets = Targets()
    lane = lanes(schedule, targets)
    arrived = False

    def holes_come_after_the_first() -> bool:
        nonlocal arrived
        if len(schedule.settled) >= 3 and not arrived:
            arrived = True
            schedule.due += [lease(f"hole{n}") for n in range(60)]
        if sum(host.startswith("hole") for host in targets.most) == 12:
            schedule.due.append(lease("healthy"))
        return len(schedule.settled) >= 40

    await run_until(lane, holes_come_after_the_first)

    assert {lease.target for lease, _ in schedule.settled} == {"healthy"}
    assert sum(host.startswith("hole") for host in targets.most) == 12


async def test_outcomes_that_wait_for_the_database_are_written_together() -> None:
    schedule = MemorySchedule([lease(f"h{n}") for n in range(12)], gate=asyncio.Event())
    targets = Targets()
    lane = lanes(schedule, targets)
    stop = asyncio.Event()
    task = asyncio.create_task(lane.run(stop))
    async with asyncio.timeout(5):
        while targets.asked < 12:
            await asyncio.sleep(0.005)
    assert schedule.gate is not None
    schedule.gate.set()
    stop.set()
    await asyncio.wait_for(task, 5)

    assert len(schedule.settled) == 12
    assert schedule.writes <= 3


async def test_what_postgresql_refuses_costs_neither_the_batch_nor_its_own_outcome() -> None:
    schedule = MemorySchedule([lease("a")], poisoned="bad words")

    await run_until(
        lanes(schedule, Targets(detail="bad words")), lambda: len(schedule.settled) == 1
    )

    assert schedule.settled[0][1].settled.state == "delivered"
    assert schedule.settled[0][1].attempt.detail is None


async def test_an_open_breaker_claims_nothing_and_so_charges_nobody() -> None:
    schedule = MemorySchedule([lease("bad") for _ in range(100)])
    targets = Targets(status=503)
    lane = lanes(schedule, targets)

    await run_until(lane, lambda: lane.pacer.open_breakers(time.monotonic()) == 1)

    assert targets.asked < 20
    assert len(schedule.due) == 100 - targets.asked


async def test_an_answer_that_closes_a_breaker_brings_forward_who_waits_for_the_target() -> None:
    schedule = MemorySchedule([lease("a") for _ in range(100)])
    targets = Targets(status=503)
    lane = lanes(schedule, targets)

    def recovers() -> bool:
        if lane.pacer.open_breakers(time.monotonic()):
            targets.status = 200
        return len(schedule.settled) == 100

    await run_until(lane, recovers)

    assert schedule.forward == ["a"]


async def test_answers_that_do_not_come_to_one_sender_do_not_hold_up_another() -> None:
    """One target, two owners: the addresses of one never answer."""

    class OneIsDead(Targets):
        async def deliver(self, lease: Leased) -> Tried:
            if lease.sender == "dead":
                await asyncio.Event().wait()
            return await super().deliver(lease)

    schedule = MemorySchedule([lease("a", "dead") for _ in range(20)])
    lane = lanes(schedule, OneIsDead())
    stop = asyncio.Event()
    task = asyncio.create_task(lane.run(stop))
    async with asyncio.timeout(5):
        while lane.pacer.in_flight < 2:  # all that an unknown target may have
            await asyncio.sleep(0.005)
        schedule.due += [lease("a", "ann") for _ in range(20)]
        lane.wake.set()
        while len(schedule.settled) < 20:
            await asyncio.sleep(0.005)
    stop.set()
    await asyncio.wait_for(task, 5)

    assert {lease.sender for lease, _ in schedule.settled} == {"ann"}


async def test_a_host_is_disabled_after_many_openings_only_where_that_was_asked_for() -> None:
    schedule = MemorySchedule([lease("bad") for _ in range(40)])

    await run_until(
        lanes(schedule, Targets(status=503), disable_after=2), lambda: bool(schedule.disabled)
    )

    assert "opened 2 times" in schedule.disabled["bad"]
    assert schedule.due


async def test_a_fault_of_our_own_gives_the_lease_back_uncharged() -> None:
    schedule = MemorySchedule([lease("a")])

    await run_until(lanes(schedule, Targets(own_fault=True)), lambda: len(schedule.released) == 1)

    assert schedule.settled == []


async def test_an_unexpected_error_costs_one_attempt_of_one_webhook() -> None:
    schedule = MemorySchedule([lease("bug") for _ in range(12)] + [lease("healthy")])
    lane = lanes(schedule, Targets())

    await run_until(lane, lambda: len(schedule.settled) == 13)

    ended = {
        (lease.target, tried.settled.state, tried.attempt.error)
        for lease, tried in schedule.settled
    }
    assert ended == {("bug", "due", "ZeroDivisionError"), ("healthy", "delivered", None)}
    assert lane.pacer.open_breakers(time.monotonic()) == 0, "the host has done nothing"
    assert schedule.released == []


async def test_an_outcome_is_recorded_when_the_database_comes_back() -> None:
    schedule = MemorySchedule([lease("a")], refusals=2)

    await run_until(lanes(schedule, Targets()), lambda: len(schedule.settled) == 1)

    assert schedule.settled[0][1].settled.state == "delivered"


async def test_what_died_with_its_worker_wakes_the_lanes_after_the_commit() -> None:
    woken_early: list[bool] = []

    class Died(MemorySchedule):
        async def expire_leases(self, tx: Transaction) -> tuple[int, int]:
            return 1, 0

    class Committing(NoDatabase):
        @staticmethod
        @asynccontextmanager
        async def transaction() -> AsyncIterator[NoTransaction]:
            yield NoTransaction()
            woken_early.append(lane.wake.is_set())

    lane = replace(lanes(Died([]), Targets()), database=Committing())
    lane.wake.clear()

    await lane._expire()

    assert woken_early == [False]
    assert lane.wake.is_set()


async def test_a_stop_lets_what_is_in_flight_come_to_its_end() -> None:
    schedule = MemorySchedule([lease(f"h{n}") for n in range(5)])
    lane = lanes(schedule, Targets())
    stop = asyncio.Event()
    task = asyncio.create_task(lane.run(stop))
    while schedule.due:
        await asyncio.sleep(0)
    stop.set()

    await asyncio.wait_for(task, 5)

    assert len(schedule.settled) == 5
    assert lane.pacer.in_flight == 0


async def test_a_stop_gives_up_on_a_target_that_never_answers() -> None:
    schedule = MemorySchedule([lease("hole")])
    lane = lanes(schedule, Targets())

    await run_until(lane, lambda: lane.pacer.in_flight == 1)

    assert lane.pacer.in_flight == 0
    assert schedule.settled == []


async def test_no_more_are_sent_at_a_time_than_there_are_workers_whatever_was_claimed() -> None:
    schedule = MemorySchedule([lease(f"hole{n}") for n in range(30)])
    targets = Targets()
    lane = lanes(schedule, targets, workers=4, ahead=8)

    await run_until(lane, lambda: targets.asked > 0)

    assert sum(targets.most.values()) <= 4


async def test_what_was_claimed_ahead_is_sent_without_another_claim() -> None:
    hosts = [f"h{n}" for n in range(24)]
    schedule = MemorySchedule([lease(host) for host in hosts])
    lane = lanes(schedule, Targets(), workers=4, ahead=20)
    await run_until(lane, lambda: len(schedule.settled) == 24)  # all hosts have answered
    schedule.due += [lease(host) for host in hosts]
    claims = 0
    take = schedule.claim

    async def counted(connection: Transaction, rooms: Room) -> Sequence[Leased]:
        nonlocal claims
        leases = await take(connection, rooms)
        claims += bool(leases)
        return leases

    schedule.claim = counted  # type: ignore[method-assign]  # the fake's own, counted
    await run_until(lane, lambda: len(schedule.settled) == 48)

    assert claims == 1


async def test_a_stop_gives_back_at_once_what_waits_for_a_worker() -> None:
    hosts = [f"h{n}" for n in range(8)]
    schedule, targets = MemorySchedule([lease(host) for host in hosts]), Targets()
    lane = lanes(schedule, targets, workers=2, ahead=6)
    await run_until(lane, lambda: len(schedule.settled) == 8)
    targets.black_holes = "h"
    schedule.due += [lease(host) for host in hosts]

    await run_until(lane, lambda: targets.asked == 10 and not schedule.due)

    assert len(schedule.released) == 6
    assert targets.asked == 10, "it was sent after the stop"
    assert lane.pacer.in_flight == 0
