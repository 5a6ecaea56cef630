"""What the report on the same photos keeps others from, and for how long."""

import asyncio

import pytest

from core.vision.decoding.lookalikes import lookalikes
from ingress.reading import same_photos
from tests.fakes.pictures import jpeg
from tests.integration.ingress.photos.test_images import uploaded
from tests.integration.ingress.world import World

#: Hashes are read, compared with no connection held, and the pairs looked at.
ONE_REPORT = ["taken", "given back", "compared", "taken", "given back"]


@pytest.fixture
async def two_alike(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two photos with the same hash; comparing is noted among what the pool is used for."""
    for number in (1, 2):
        await world.tag(await uploaded(world, jpeg(number)), ("cat", 0.9), perceptual_hash=5)

    def noted(*args: object, **limits: object) -> object:
        world.pool.events.append("compared")
        return lookalikes(*args, **limits)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(same_photos, "lookalikes", noted)
    world.pool.forget()
    return world


async def test_no_connection_is_held_while_hashes_are_compared(two_alike: World) -> None:
    page = await same_photos.find(two_alike.pool, asyncio.Lock(), owner=None, after=0, limit=10)

    assert len(page.pairs) == 1
    assert two_alike.pool.events == ONE_REPORT


async def test_one_report_is_made_at_a_time(two_alike: World) -> None:
    turn = asyncio.Lock()

    await asyncio.gather(
        *(same_photos.find(two_alike.pool, turn, owner=None, after=0, limit=10) for _ in range(3))
    )

    assert two_alike.pool.events == ONE_REPORT * 3
