"""Work that is done once for all who ask for it, a few pieces at a time, in turn."""

import asyncio

import pytest

from core.errors import TransientError
from ingress.reading.in_turn import InTurn

LIMIT_S = 30


class Works:
    """Pieces of work that end when they are told to."""

    def __init__(self, at_once: int = 1) -> None:
        self.turns: InTurn[str] = InTurn(at_once)
        self.begun: list[str] = []
        self.go = asyncio.Event()

    async def _do(self, name: str) -> str:
        self.begun.append(name)
        await self.go.wait()
        if name.startswith("bad"):
            raise ValueError(name)
        return name.upper()

    def ask(self, name: str, holder: str = "ann") -> asyncio.Task[str]:
        return asyncio.create_task(self.turns.of(name, holder, lambda: self._do(name)))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_many_ask_for_is_done_once() -> None:
    works = Works()
    asking = [works.ask("one", holder) for holder in ("ann", "bob", "cy")]
    await settle()
    works.go.set()
    assert await asyncio.gather(*asking) == ["ONE"] * 3
    assert works.begun == ["one"]


async def test_what_is_asked_for_again_later_is_done_again() -> None:
    works = Works()
    works.go.set()
    assert [await works.ask("one"), await works.ask("one")] == ["ONE", "ONE"]
    assert works.begun == ["one", "one"]


async def test_no_more_are_under_way_than_may_be() -> None:
    works = Works(at_once=2)
    asking = [works.ask(name) for name in "abcd"]
    await settle()
    assert (works.begun, works.turns.waiting) == (["a", "b"], 2)
    works.go.set()
    assert await asyncio.gather(*asking) == ["A", "B", "C", "D"]


async def test_who_asks_for_much_does_not_keep_others_waiting() -> None:
    works = Works()
    asking = [works.ask(f"ann{number}") for number in range(5)]
    await settle()
    asking += [works.ask("bob0", "bob"), works.ask("cy0", "cy")]
    await settle()
    works.go.set()
    await asyncio.gather(*asking)
    assert works.begun == ["ann0", "ann1", "bob0", "cy0", "ann2", "ann3", "ann4"]


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    works = Works()
    first, second, third = works.ask("a"), works.ask("b"), works.ask("c")
    shared = works.ask("c", "bob")
    await settle()
    second.cancel()
    third.cancel()
    await settle()
    assert works.turns.waiting == 1
    works.go.set()
    assert list(await asyncio.gather(first, shared)) == ["A", "C"]
    assert works.begun == ["a", "c"]


async def test_what_is_under_way_is_finished_for_the_others() -> None:
    works = Works()
    first, second = works.ask("a"), works.ask("a")
    await settle()
    first.cancel()
    await settle()
    works.go.set()
    assert await second == "A"


async def test_an_error_is_everybodys_and_the_next_goes_on() -> None:
    works = Works()
    asking = [works.ask("bad"), works.ask("bad"), works.ask("good")]
    await settle()
    works.go.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(one) for one in found] == [ValueError, ValueError, str]


async def test_at_the_end_whoever_waits_is_told() -> None:
    works = Works()
    asking = [works.ask("a"), works.ask("b")]
    await settle()
    async with asyncio.timeout(LIMIT_S):
        await works.turns.close()
        found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(one) for one in found] == [TransientError, TransientError]
    with pytest.raises(TransientError):
        await works.ask("c")
    assert works.begun == ["a"]
