"""Turns at the database: many requests of one client leave connections to the others."""

import asyncio
from contextlib import nullcontext
from contextvars import copy_context

import pytest

from ingress.http.problems import Problem
from ingress.http.turns import HOLDER, DatabaseTurns
from tests.integration.ingress.world import World


def asked_by(holder: str | None, world: World) -> asyncio.Task[int]:
    """A statement of this client's request."""
    context = copy_context()
    context.run(HOLDER.set, holder)
    return asyncio.create_task(world.pool.fetchval("SELECT 1"), context=context)


async def test_a_client_with_all_its_turns_waits_and_others_do_not(world: World) -> None:
    turns = DatabaseTurns(2)
    world.pool._turn = turns.turn
    HOLDER.set("greedy")
    try:
        async with world.pool.transaction(), world.pool.transaction():
            waiting = [asked_by("greedy", world) for _ in range(50)]
            others = [asked_by(name, world) for name in ("modest", "modest", "new", None)]

            assert await asyncio.gather(*others) == [1] * 4
            assert not any(one.done() for one in waiting)
        assert await asyncio.gather(*waiting) == [1] * 50
        assert turns._lines == {}
    finally:
        HOLDER.set(None)
        world.pool._turn = nullcontext  # other tests have this pool too


async def test_who_gets_no_turn_in_time_is_told_to_come_later() -> None:
    turns = DatabaseTurns(1, timeout_s=0.05)
    HOLDER.set("greedy")
    async with turns.turn():
        with pytest.raises(Problem) as caught:
            async with turns.turn():
                raise AssertionError

    assert caught.value.kind.code == "rate_limited"
    assert turns._lines == {}


async def test_a_request_that_is_cancelled_in_line_leaves_it() -> None:
    turns = DatabaseTurns(1)
    HOLDER.set("greedy")

    async def take() -> None:
        async with turns.turn():
            pass

    async with turns.turn():
        waiting = asyncio.create_task(take())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert turns._lines["greedy"].requests == 1
    await take()
    assert turns._lines == {}
