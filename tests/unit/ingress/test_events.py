"""Server-sent events."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from core.errors import DatabaseAway
from ingress.http.events import Rhythm, stream_of

FAST = Rhythm(look_s=0.001, heartbeat_s=10, longest_s=5)


class Counted(BaseModel):
    number: int


def counting(*numbers: int) -> Callable[[], Awaitable[Counted]]:
    """Return these numbers one after the other, the last one for ever."""
    left = list(numbers)

    async def look() -> Counted:
        return Counted(number=left.pop(0) if len(left) > 1 else left[0])

    return look


async def said(response: Any) -> list[str]:
    async with asyncio.timeout(10):
        return [str(piece) async for piece in response.body_iterator]


def numbers_in(pieces: list[str]) -> list[int]:
    return [
        json.loads(piece.partition("data: ")[2])["number"] for piece in pieces if "data: " in piece
    ]


async def test_a_value_is_told_when_it_has_changed_and_the_final_one_ends_it() -> None:
    pieces = await said(
        stream_of(counting(1, 1, 2, 2, 3), lambda v: v.number == 3, lambda: True, FAST)
    )

    assert numbers_in(pieces) == [1, 2, 3]
    assert pieces[0] == "retry: 1000\n\n"


async def test_a_silent_line_is_kept_open_by_comments() -> None:
    rhythm = replace(FAST, heartbeat_s=0.005, longest_s=0.1)

    pieces = await said(stream_of(counting(1), lambda _: False, lambda: True, rhythm))

    assert numbers_in(pieces) == [1]
    assert pieces.count(": still here\n\n") >= 1


async def test_a_stopping_process_lets_its_listeners_go() -> None:
    looks = 0

    def is_open() -> bool:
        nonlocal looks
        looks += 1
        return looks < 4

    pieces = await said(stream_of(counting(1), lambda _: False, is_open, FAST))

    assert numbers_in(pieces) == [1]


async def test_an_outage_ends_the_line_and_not_the_process() -> None:
    async def look() -> Counted:
        raise DatabaseAway("connection refused")

    pieces = await said(stream_of(look, lambda _: False, lambda: True, FAST))

    assert pieces == ["retry: 1000\n\n"]
