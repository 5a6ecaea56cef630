"""Bytes of bodies in flight are reserved before they are read into memory."""

import asyncio
from datetime import UTC, datetime
from math import inf
from random import Random
from uuid import UUID, uuid4

import pytest

from consumers.delivery.budget import Budget, Reserve
from consumers.delivery.courier import OutgoingPicture, WebhookCourier
from core.errors import BlobStoreAway, PermanentError
from core.storage.delivery.deliveries import Leased
from core.webhooks.schedule import RetrySchedule
from core.webhooks.sender import WebhookSender
from core.webhooks.signing_secrets import make_secret
from schemas.callback import AnswerType, CallbackRequested
from tests.fakes.poster import PlainAnswer

SIZE = 30_000
NEEDED = 110_000  # while its body is composed: tests/integration/webhooks/test_body_memory.py
KEPT = range(40_000, 42_000)  # its base64 and the rest of the body


class Pictures:
    """Records when bytes are read into memory; the store may be away."""

    def __init__(self) -> None:
        self.read = 0
        self.is_away = False

    async def outgoing(
        self, image_id: UUID, *, inline: bool, reserve: Reserve
    ) -> OutgoingPicture | PermanentError:
        await reserve(SIZE)
        self.read += 1
        if self.is_away:
            raise BlobStoreAway("away")
        return OutgoingPicture("a.jpg", "image/jpeg", b"A" * (SIZE * 4 // 3))


class Secrets:
    async def of(self, owner: str | None, url: str) -> tuple[str, ...]:
        return (SECRET,)


SECRET = make_secret()


class SlowPoster:
    """A poster that answers when the test says so."""

    def __init__(self) -> None:
        self.posts = 0
        self.gate = asyncio.Event()

    async def post(self, url: str, **_: object) -> PlainAnswer:
        self.posts += 1
        await self.gate.wait()
        return PlainAnswer(204)


class World:
    """A courier with a budget."""

    def __init__(self, limit_bytes: int) -> None:
        self.pictures, self.poster = Pictures(), SlowPoster()
        self.budget = Budget(limit_bytes)
        self.courier = WebhookCourier(
            pictures=self.pictures,
            secrets=Secrets().of,
            sender=WebhookSender(self.poster, timeout_s=5),
            schedule=RetrySchedule((0.0, 1.0), 0.0),
            link=str,
            budget=self.budget,
            chance=Random(1),
        )

    async def until(self, *, posts: int) -> None:
        """Run the attempts until this many are at the target, and some event-loop turns more."""
        async with asyncio.timeout(5):
            while self.poster.posts < posts:
                await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)


def lease(image_id: UUID | None = None) -> Leased:
    now = datetime.now(UTC)
    event = CallbackRequested(
        query_id=uuid4(),
        url="https://example.org/hook",
        type=AnswerType.COMPLETED,
        text="cats",
        answered_at=now,
        image_id=image_id or uuid4(),
    )
    return Leased(
        uuid4(), event.query_id, None, "\t0", "https://example.org:443", event.url,
        event.model_dump_json(), 1, 1, now, uuid4(), inf,
    )  # fmt: skip


async def test_no_picture_is_read_while_its_body_would_find_no_room() -> None:
    world = World(NEEDED + KEPT.start - 1)
    attempts = [asyncio.create_task(world.courier.deliver(lease())) for _ in range(3)]

    await world.until(posts=1)
    read_beside_one, used = world.pictures.read, world.budget._used
    world.poster.gate.set()
    await asyncio.gather(*attempts)

    assert read_beside_one == 1
    assert used in KEPT
    assert (world.pictures.read, world.budget._used) == (3, 0)


async def test_what_was_reserved_and_not_needed_is_given_back_before_the_answer() -> None:
    world = World(NEEDED + KEPT.stop)
    attempts = [asyncio.create_task(world.courier.deliver(lease())) for _ in range(2)]

    await world.until(posts=2)
    used = world.budget._used
    world.poster.gate.set()
    await asyncio.gather(*attempts)

    assert used // 2 in KEPT
    assert world.budget._used == 0


async def test_a_body_larger_than_the_whole_budget_goes_alone() -> None:
    world = World(1000)
    attempts = [asyncio.create_task(world.courier.deliver(lease())) for _ in range(2)]

    await world.until(posts=1)
    alone = world.pictures.read
    world.poster.gate.set()
    await asyncio.gather(*attempts)

    assert (alone, world.pictures.read, world.budget._used) == (1, 2, 0)


async def test_room_comes_back_where_an_attempt_fails_or_is_cancelled() -> None:
    world = World(NEEDED)
    world.pictures.is_away = True
    with pytest.raises(BlobStoreAway):
        await world.courier.deliver(lease())
    world.pictures.is_away = False
    under_way = asyncio.create_task(world.courier.deliver(lease()))
    await world.until(posts=1)
    waiting = asyncio.create_task(world.courier.deliver(lease()))
    await asyncio.sleep(0)

    for task in (waiting, under_way):
        task.cancel()
    await asyncio.gather(under_way, waiting, return_exceptions=True)

    assert world.budget._used == 0


async def test_an_attempt_reserves_once() -> None:
    async with Budget(10).hold() as held:
        await held.reserve(5)
        with pytest.raises(RuntimeError, match="once"):
            await held.reserve(5)
