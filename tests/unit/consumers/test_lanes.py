"""The fresh lane's right of way over the bulk lane."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from consumers.tagging.arrivals import Arrival
from consumers.tagging.lanes import FirstInLine, RightOfWay
from core.errors import PermanentError
from core.messaging.liveness import Pulse
from core.messaging.role import Received
from core.settings import ConsumerSettings
from core.tags import Postponed, Tagged, TagRequest
from tests.simulation.clock import virtual
from tests.unit.consumers.test_tagging_role import EchoTagger, received, role


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_step_begins_at_once_while_nothing_else_is_under_way() -> None:
    async with asyncio.timeout(1):
        await RightOfWay().turn()


async def test_a_step_waits_until_all_other_work_has_ended() -> None:
    way, begun = RightOfWay(), []

    async def step() -> None:
        await way.turn()
        begun.append(1)

    with way.taken():
        with way.taken():
            waiting = asyncio.create_task(step())
            await settled()
        await settled()
        assert not begun
    await waiting
    assert begun


@virtual
async def test_who_waits_for_long_work_of_others_is_not_taken_for_stuck() -> None:
    way, parts = RightOfWay(), []
    with way.taken(), Pulse(lambda: parts.append(1)).trying():
        waiting = asyncio.create_task(way.turn())
        await asyncio.sleep(100)
        assert len(parts) > 100 / ConsumerSettings().stall_limit_s * 10
        assert not waiting.done()
    await waiting


async def test_each_end_of_other_work_lets_the_waiting_steps_begin_though_more_follows() -> None:
    way, begun = RightOfWay(), 0

    async def steps() -> None:
        nonlocal begun
        while True:
            await way.turn()
            begun += 1

    with way.taken():
        working = asyncio.create_task(steps())
        await settled()
    for expected in (1, 2, 3):
        with way.taken():  # no moment in between
            await settled()
            assert begun == expected
    working.cancel()


@dataclass
class SlowTagger(EchoTagger):
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def tag_all(
        self, images: Sequence[bytes | PermanentError | Postponed], requests: Sequence[TagRequest]
    ) -> list[Tagged | PermanentError | Postponed]:
        await self.may_end.wait()
        return await super().tag_all(images, requests)


async def test_the_lane_in_front_has_the_right_of_way_from_its_first_byte_to_its_last_tag() -> None:
    plain, _, _ = role({"file:p/a.jpg": b"cat"})
    slow, way = SlowTagger(), RightOfWay()
    batch: list[Received[Arrival]] = [received("file:p/a.jpg", 0)]
    preparing = asyncio.create_task(FirstInLine(replace(plain, tagger=slow), way).prepare(batch))
    turn = asyncio.create_task(way.turn())
    await settled()
    assert not preparing.done()
    turn_meanwhile = asyncio.create_task(way.turn())
    await settled()

    assert not turn_meanwhile.done()
    slow.may_end.set()
    assert len(await preparing) == 1
    await asyncio.gather(turn, turn_meanwhile)
