"""Several loops of one process: they end together, and none runs on without the others."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from consumers import runtime
from consumers.runtime import Companion, Subscription, run_all
from tests.unit.consumers.test_lanes import settled

LOOPS = ("tagging", "tagging-bulk")


@dataclass
class Loops:
    """Stands for the loops of two topics, whose work is here."""

    running: set[str]
    failing: str = ""
    lasting: str = ""

    def __post_init__(self) -> None:
        self.may_end = asyncio.Event()

    async def run_role(self, group: str, stop: asyncio.Event) -> None:
        self.running.add(group)
        try:
            if group == self.failing:
                raise LookupError(group)
            await stop.wait()
            if group == self.lasting:
                await self.may_end.wait()
        finally:
            self.running.discard(group)


class Heartless:
    """Stands for the heartbeats, which are not looked at here."""

    async def run(self, ended: asyncio.Event) -> None:
        await ended.wait()


def begin(
    monkeypatch: pytest.MonkeyPatch, loops: Loops, stop: asyncio.Event, *companions: Companion
) -> "asyncio.Task[None]":
    nothing: Any = None
    monkeypatch.setattr(runtime, "_parts", lambda _runtime, one, _isolation: one.group)
    monkeypatch.setattr(runtime, "_heart", lambda *_: Heartless())
    monkeypatch.setattr(runtime, "run_role", loops.run_role)
    monkeypatch.setattr(runtime, "calm_collector", lambda: None)
    monkeypatch.setattr(runtime, "CLEAN_UP_S", 3600.0)
    both: Sequence[Subscription[Any, Any]] = [Subscription(one, nothing, nothing) for one in LOOPS]
    return asyncio.create_task(run_all(nothing, both, stop, companions))


async def test_a_stop_ends_both_loops_and_the_companions_after_the_last_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loops, stop, companion_ended = Loops(set(), lasting="tagging-bulk"), asyncio.Event(), []

    async def companion(ended: asyncio.Event) -> None:
        await ended.wait()
        companion_ended.append(set(loops.running))

    run = begin(monkeypatch, loops, stop, companion)
    await settled()
    assert loops.running == set(LOOPS)

    stop.set()
    await settled()
    assert loops.running == {"tagging-bulk"}
    assert companion_ended == []

    loops.may_end.set()
    await run
    assert companion_ended == [set()]


@pytest.mark.parametrize("failing", LOOPS)
async def test_one_loop_that_fails_ends_the_other(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    loops = Loops(set(), failing=failing)

    with pytest.raises(ExceptionGroup) as raised:
        await begin(monkeypatch, loops, asyncio.Event())

    assert raised.group_contains(LookupError, match=failing)
    assert loops.running == set()
