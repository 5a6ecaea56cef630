"""Signs of life: what tells a part that stands still from one that has nothing to do."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from core.errors import DatabaseAway
from core.telemetry.heart import Heart
from core.telemetry.vitals import DEFAULT_LIMIT_S, OUTAGE_PATIENCE, Beat, Signs, Vitals
from core.transaction import Transaction


@dataclass
class Clock:
    """Seconds that pass when told."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def begun(clock: Clock, **values: Any) -> Vitals:
    return Vitals("query", clock=clock, **values)


def test_who_has_nothing_to_do_does_not_stand_still_however_long() -> None:
    clock = Clock()
    part = begun(clock)
    part.sees(0)
    clock.now += 10 * DEFAULT_LIMIT_S

    assert (part.still_s(), part.is_stuck) == (0.0, False)


def test_standing_still_begins_with_the_work_and_not_with_the_last_progress() -> None:
    clock = Clock()
    part = begun(clock)
    part.moved()
    clock.now += 3600
    part.sees(5)
    clock.now += 7

    assert part.still_s() == 7


def test_progress_ends_it_though_work_goes_on_waiting() -> None:
    clock = Clock()
    part = begun(clock, limit_s=30)
    part.sees(5)
    clock.now += 31
    assert part.is_stuck
    part.moved()
    clock.now += 2
    part.sees(9)

    assert (part.still_s(), part.is_stuck) == (2.0, False)


def test_what_waits_for_something_outside_is_given_more_time_but_not_for_ever() -> None:
    clock = Clock()
    part = begun(clock, limit_s=30, about={"waits_for": "BrokerAway"})
    part.sees(1)
    clock.now += 31
    assert not part.is_stuck
    clock.now += 30 * OUTAGE_PATIENCE

    assert part.is_stuck


def test_a_beat_tells_the_rate_since_the_last_one() -> None:
    clock = Clock()
    part = begun(clock)
    part.beat()
    part.moved(10)
    clock.now += 5
    assert part.beat().done_per_s == 2.0
    clock.now += 5

    assert part.beat().done_per_s == 0.0


def test_the_oldest_goes_on_waiting_between_two_looks() -> None:
    clock = Clock()
    part = begun(clock)
    part.sees(1, oldest_s=3.0)
    clock.now += 4

    assert part.beat().oldest_s == 7.0


def test_a_clock_that_runs_behind_gives_no_wait_below_nothing() -> None:
    part = begun(Clock())
    part.sees(1, oldest_s=-3600.0)

    assert part.beat().oldest_s == 0.0


def test_a_blocked_event_loop_is_found_from_outside() -> None:
    clock = Clock()
    signs = Signs(clock)
    signs.turned()
    clock.now += DEFAULT_LIMIT_S + 1

    assert [line.partition(":")[0] for line in signs.stuck()] == ["event loop"]


@dataclass
class Table:
    """Where beats are written; away as often as told."""

    away: int = 0
    beats: list[Sequence[Beat]] = field(default_factory=list)
    stopped: list[Sequence[Beat]] = field(default_factory=list)

    async def beat(self, connection: Transaction, instance: str, beats: Sequence[Beat]) -> None:
        del connection, instance
        if self.away:
            self.away -= 1
            raise DatabaseAway("connection refused")
        self.beats.append(beats)

    async def stop(self, connection: Transaction, instance: str, beats: Sequence[Beat]) -> None:
        del connection, instance
        self.stopped.append(beats)


class NoDatabase:
    """Gives connections that nobody uses."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        yield None

    transaction = connection


async def test_a_heart_survives_an_outage_and_says_when_it_stops() -> None:
    signs, table, stop = Signs(), Table(away=3), asyncio.Event()
    signs.part("query")
    beating = asyncio.create_task(Heart(NoDatabase(), table, signs, "query-0", 0.001).run(stop))
    async with asyncio.timeout(30):
        while not table.beats:
            await asyncio.sleep(0.001)
    stop.set()
    await beating

    assert table.away == 0
    assert [beat.role for beat in table.stopped[0]] == ["query"]
