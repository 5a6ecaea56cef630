"""Time limits that count processor time."""

import asyncio

import pytest

from core.vision.decoding.limits.deadline import TimeLimit, within
from tests.simulation.clock import virtual

LIMIT = TimeLimit(cpu_s=2.0, wall_s=10.0)


async def took_s(work_s: float, *, share_of_processor: float) -> float:
    """Return when work ended, or the limit did; the process has a share of a processor."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with within(LIMIT, lambda: (loop.time() - began) * share_of_processor):
            await asyncio.sleep(work_s / share_of_processor)
    except TimeoutError:
        return -(loop.time() - began)
    return loop.time() - began


@virtual
async def test_a_process_with_a_processor_of_its_own_ends_after_its_time() -> None:
    assert await took_s(1.9, share_of_processor=1.0) == pytest.approx(1.9)
    assert await took_s(3.0, share_of_processor=1.0) == pytest.approx(-2.0, abs=0.02)


@virtual
async def test_a_process_that_shares_its_processor_gets_the_same_work_done() -> None:
    assert await took_s(1.9, share_of_processor=0.25) == pytest.approx(7.6)
    assert await took_s(3.0, share_of_processor=0.25) == pytest.approx(-8.0, abs=0.02)


@virtual
async def test_a_process_that_sleeps_ends_after_the_time_of_day() -> None:
    assert await took_s(1.0, share_of_processor=0.01) == pytest.approx(-10.0)


@virtual
async def test_a_cancelled_wait_leaves_no_timer_behind() -> None:
    looks: list[float] = []

    def used_s() -> float:
        looks.append(0.0)
        return 0.0

    async def wait() -> None:
        async with within(LIMIT, used_s):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    before = len(looks)
    await asyncio.sleep(100)
    assert len(looks) == before
