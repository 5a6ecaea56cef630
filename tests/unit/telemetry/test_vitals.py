"""Signs of life: what tells a part that stands still from one that has nothing to do."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from core.errors import DatabaseAway, RecordRefused
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
    """Where beats are written; away, refusing, or silent as often as told."""

    away: int = 0
    refused: int = 0
    hangs: int = 0
    beats: list[Sequence[Beat]] = field(default_factory=list)
    stopped: list[Sequence[Beat]] = field(default_factory=list)

    async def beat(self, connection: Transaction, instance: str, beats: Sequence[Beat]) -> None:
        del connection, instance
        if self.away:
            self.away -= 1
            raise DatabaseAway("connection refused")
        if self.refused:
            self.refused -= 1
            raise RecordRefused("unsupported Unicode escape sequence")
        if self.hangs:
            self.hangs -= 1
            await asyncio.Event().wait()
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


async def stopped_after_a_beat(table: Table) -> None:
    """Run a heart until it has beaten once, and then to its end."""
    signs, stop = Signs(), asyncio.Event()
    signs.part("query")
    heart = Heart(NoDatabase(), table, signs, "query-0", interval_s=0.001, beat_s=0.05)
    beating = asyncio.create_task(heart.run(stop))
    async with asyncio.timeout(30):
        while not (table.beats or beating.done()):
            await asyncio.sleep(0.001)
    stop.set()
    await beating


async def test_a_heart_survives_an_outage_and_says_when_it_stops() -> None:
    table = Table(away=3)
    await stopped_after_a_beat(table)

    assert table.away == 0
    assert [beat.role for beat in table.stopped[0]] == ["query"]


async def test_a_beat_that_postgresql_refuses_or_never_answers_ends_no_process() -> None:
    table = Table(refused=2, hangs=2)
    await stopped_after_a_beat(table)

    assert (table.refused, table.hangs, len(table.stopped)) == (0, 0, 1)


def test_what_is_away_is_told_in_words_that_postgresql_takes() -> None:
    part = begun(Clock(), about={"waits_for": "bad status line 'a\0b\ud800'" + "x" * 10_000})
    told = part.beat().about["waits_for"]

    assert told.startswith("bad status line 'a\ufffdb?'")
    assert len(told) == 500
