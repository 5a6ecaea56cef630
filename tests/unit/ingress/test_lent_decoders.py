"""Decoders that are there while somebody needs them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.errors import ConfigurationError, TransientError
from core.tags import ThumbSize
from core.vision.decoding.pool.answers import OutgoingCopy
from ingress.reading.lent_decoders import LentDecoders
from tests.fakes.pictures import jpeg
from tests.fakes.thumbs import ScriptedThumbs

LIMIT_S = 30
NEVER_S = 1000.0


class Pools:
    """Counts how often the decoder was opened and closed."""

    def __init__(self) -> None:
        self.decoder = ScriptedThumbs()
        self.opened = self.closed = 0
        self.fails = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ScriptedThumbs]:
        if self.fails:
            raise ConfigurationError("no memory")
        self.opened += 1
        try:
            yield self.decoder
        finally:
            self.closed += 1


async def made(lent: LentDecoders) -> bool:
    return isinstance(await lent.thumb_soon(jpeg(1), ThumbSize.SMALL), OutgoingCopy)


async def until_closed(pools: Pools, times: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while pools.closed < times:
            await asyncio.sleep(0.005)


async def test_nothing_is_opened_before_it_is_needed_and_then_once() -> None:
    pools = Pools()
    lent = LentDecoders(pools.open, NEVER_S)
    assert (lent.is_open, pools.opened) == (False, 0)
    assert await asyncio.gather(*(made(lent) for _ in range(5))) == [True] * 5
    assert (lent.is_open, pools.opened) == (True, 1)
    await lent.close()
    assert (lent.is_open, pools.closed) == (False, 1)


async def test_it_is_closed_when_it_idles_and_opened_again_when_needed() -> None:
    pools = Pools()
    lent = LentDecoders(pools.open, 0.01)
    assert await made(lent)
    await until_closed(pools, 1)
    assert not lent.is_open
    assert await made(lent)
    assert pools.opened == 2
    await lent.close()


async def test_it_is_not_closed_while_it_works() -> None:
    pools = Pools()
    lent = LentDecoders(pools.open, 0.01)
    assert await made(lent)  # from now on the time of idling runs
    pools.decoder.go.clear()
    working = asyncio.create_task(made(lent))
    async with asyncio.timeout(LIMIT_S):
        while not pools.decoder.at_once:
            await asyncio.sleep(0)
    await lent._close_if_idle()
    assert pools.closed == 0
    pools.decoder.go.set()
    assert await working
    await until_closed(pools, 1)


async def test_a_machine_without_room_for_it_is_an_outage() -> None:
    pools = Pools()
    lent = LentDecoders(pools.open, NEVER_S)
    pools.fails = True
    with pytest.raises(TransientError):
        await made(lent)
    pools.fails = False
    assert await made(lent)
    await lent.close()
