"""Steps that are repeated until a process stops, on a virtual clock."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from core.errors import DatabaseAway, TransientError
from core.repeating import every, pause
from tests.simulation.clock import VirtualLoop


@dataclass
class Steps:
    """Steps that end as they are told, and note when they began."""

    ends: list[bool | Exception]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    at: list[float] = field(default_factory=list)

    async def step(self) -> bool:
        self.at.append(asyncio.get_running_loop().time())
        end = self.ends.pop(0)
        if not self.ends:
            self.stop.set()
        if isinstance(end, Exception):
            raise end
        return end


def run(work: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(asyncio.wait_for(work(), 100))


def test_a_step_with_more_to_do_is_followed_at_once_and_one_without_after_the_wait() -> None:
    steps = Steps([True, True, False, False])

    run(lambda: every(steps.step, 5.0, steps.stop))

    assert steps.at == [0, 0, 0, 5]


def test_an_outage_is_reported_and_the_step_is_made_again_after_the_wait() -> None:
    error, seen = DatabaseAway("PostgreSQL is away"), list[TransientError]()
    steps = Steps([error, False])

    run(lambda: every(steps.step, 5.0, steps.stop, postponed=seen.append))

    assert steps.at == [0, 5]
    assert seen == [error]


def test_a_bug_ends_the_repetition() -> None:
    steps = Steps([ValueError("a bug"), False])

    with pytest.raises(ValueError, match="a bug"):
        run(lambda: every(steps.step, 5.0, steps.stop))


def test_a_stop_ends_the_wait() -> None:
    steps, ended = Steps([False] * 3), list[float]()

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(2, steps.stop.set)
        await every(steps.step, 5.0, steps.stop)
        ended.append(loop.time())

    run(work)

    assert steps.at == [0]
    assert ended == [2]


def test_a_pause_lasts_its_time_where_nobody_stops_it() -> None:
    ended = list[float]()

    async def work() -> None:
        await pause(3.0, asyncio.Event())
        ended.append(asyncio.get_running_loop().time())

    run(work)

    assert ended == [3]
