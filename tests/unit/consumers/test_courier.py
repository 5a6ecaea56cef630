"""The results of attempts that fail on our side, before or during the POST."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID, uuid4

import pytest

from consumers.delivery.attempts import Tried
from consumers.delivery.budget import Budget, Reserve
from consumers.delivery.courier import OutgoingPicture, WebhookCourier
from consumers.delivery.target_pace import TargetHealth
from core.errors import (
    DatabaseAway,
    ImageMissing,
    ImageUnreadable,
    PermanentError,
    TargetUnreachable,
    TransientError,
)
from core.storage.delivery.deliveries import Leased
from core.webhooks.schedule import OWN_FAULT_DELAY_S, RetrySchedule
from core.webhooks.sender import WebhookSender
from core.webhooks.signing_secrets import make_secret
from schemas.callback import AnswerType, CallbackRequested
from tests.fakes.poster import PlainAnswer, RecordingPoster

TIMEOUT_S = 5.0
SCHEDULE = RetrySchedule((0.0, 60.0, 600.0), 0.0)


@dataclass
class World:
    """A courier with scripted pictures, secrets and target."""

    picture: OutgoingPicture | PermanentError = field(
        default_factory=lambda: OutgoingPicture("a.jpg", "image/jpeg", b"Ynl0ZXM=")
    )
    answer: PlainAnswer | Exception = field(default_factory=PlainAnswer)
    prepare: Callable[[], None] = field(default=lambda: None)

    def __post_init__(self) -> None:
        self.poster = RecordingPoster(self.answer)
        self.courier = WebhookCourier(
            pictures=self,
            secrets=self.of,
            sender=WebhookSender(self.poster, timeout_s=TIMEOUT_S),
            schedule=SCHEDULE,
            link=str,
            budget=Budget(10**6),
            chance=Random(1),
        )

    async def outgoing(
        self, image_id: UUID, *, inline: bool, reserve: Reserve
    ) -> OutgoingPicture | PermanentError:
        self.prepare()
        return self.picture

    async def of(self, owner: str | None, url: str) -> tuple[str, ...]:
        return (SECRET,)

    async def tried(self, lease: Leased) -> Tried:
        """Deliver; turn an error into a result as the lanes do."""
        try:
            return await self.courier.deliver(lease)
        except TransientError as error:
            return self.courier.failed(lease, error)


SECRET = make_secret()


def lease(made: int = 1, *, left_s: float = 60.0, age_s: float = 0.0) -> Leased:
    now = datetime.now(UTC)
    event = CallbackRequested(
        query_id=uuid4(),
        url="https://example.org/hook",
        type=AnswerType.COMPLETED,
        text="cats",
        answered_at=now,
        image_id=uuid4(),
    )
    return Leased(
        delivery_id=uuid4(),
        query_id=event.query_id,
        owner=None,
        sender="\t0",
        target="https://example.org:443",
        url=event.url,
        event=event.model_dump_json(),
        attempt=made,
        made=made,
        created_at=now - timedelta(seconds=age_s),
        token=uuid4(),
        deadline=time.monotonic() + left_s,
    )


async def test_nothing_is_posted_where_the_lease_may_end_before_the_exchange() -> None:
    world = World()

    tried = await world.tried(lease(left_s=TIMEOUT_S - 0.1))

    assert world.poster.posted == []
    assert (tried.settled.state, tried.settled.charged, tried.health) == (
        "due",
        False,
        TargetHealth.UNKNOWN,
    )


async def test_a_lease_that_outlasts_the_exchange_is_used() -> None:
    world = World()

    tried = await world.tried(lease(left_s=TIMEOUT_S + 0.5))

    assert (tried.settled.state, len(world.poster.posted)) == ("delivered", 1)


@pytest.mark.parametrize(("spare_s", "body_s"), [(30.0, 2.0), (0.5, 0.5)])
async def test_the_body_of_an_answer_is_read_for_two_seconds_and_not_beyond_the_lease(
    spare_s: float, body_s: float
) -> None:
    world = World()

    await world.tried(lease(left_s=TIMEOUT_S + spare_s))

    assert world.poster.posted[0].body_s == pytest.approx(body_s, abs=0.4)
    assert world.poster.posted[0].body_s <= body_s


def test_a_fault_of_our_own_is_tried_again_soon_and_is_not_charged() -> None:
    tried = World().courier.failed(lease(made=3), DatabaseAway("away"))

    assert (tried.settled.state, tried.settled.charged, tried.attempt.error) == (
        "due",
        False,
        "own_fault",
    )
    assert tried.settled.next_at is not None
    wait_s = (tried.settled.next_at - datetime.now(UTC)).total_seconds()
    assert wait_s == pytest.approx(OWN_FAULT_DELAY_S, abs=1)


def test_faults_of_our_own_are_charged_after_the_window_and_so_end() -> None:
    """A webhook that was held for days is not given up at the first fault."""
    courier, late_s = World().courier, SCHEDULE.window_s + 1

    made = [
        courier.failed(lease(made=made, age_s=late_s), DatabaseAway("away")) for made in (1, 2, 3)
    ]

    assert [one.settled.state for one in made] == ["due", "due", "dead"]
    assert {(one.attempt.error, one.settled.charged, one.health) for one in made} == {
        ("own_fault", True, TargetHealth.UNKNOWN)
    }
    assert made[2].settled.reason == "attempts_exhausted"


def test_an_unexpected_error_is_charged_and_ends_with_the_schedule() -> None:
    courier = World().courier

    made = [courier.failed(lease(made=made), ZeroDivisionError("secret")) for made in (1, 2, 3)]

    assert [one.settled.state for one in made] == ["due", "due", "dead"]
    assert made[2].settled.reason == "attempts_exhausted"
    assert {(one.attempt.error, one.settled.charged, one.health) for one in made} == {
        ("internal_error", True, TargetHealth.UNKNOWN)
    }
    assert {one.attempt.detail for one in made} == {
        "ZeroDivisionError"
    }  # people see it: no more details


async def test_an_outage_of_ours_at_the_end_of_the_window_is_not_the_hosts() -> None:
    world = World(answer=TargetUnreachable("resolver", kind="dns", infra=True))

    tried = await world.tried(lease(made=3, age_s=SCHEDULE.window_s + 1))

    assert (tried.settled.state, tried.health) == ("dead", TargetHealth.UNKNOWN)


PASSING = [
    ImageMissing("busy", reason="image_unreachable"),
    ImageUnreadable("being written", reason="image_changing"),
    ImageMissing("restored a moment ago", reason="image_unknown"),
    ImageUnreadable("bad sector", reason="read_failed"),
    ImageUnreadable("busy", reason="decoder_timeout"),
    ImageUnreadable("killed", reason="decoder_crashed"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: error.reason)
async def test_a_picture_that_cannot_be_had_now_is_asked_for_again_by_the_schedule(
    error: PermanentError,
) -> None:
    world = World(picture=error)

    tried = await world.tried(lease(made=2))

    assert world.poster.posted == []
    assert (tried.settled.state, tried.attempt.error, tried.settled.charged) == (
        "due",
        error.reason,
        True,
    )
    assert tried.health is TargetHealth.UNKNOWN
    assert tried.settled.next_at is not None
    assert (tried.settled.next_at - datetime.now(UTC)).total_seconds() == pytest.approx(600, abs=1)


@pytest.mark.parametrize("error", PASSING, ids=lambda error: error.reason)
async def test_the_last_attempt_says_why_there_is_no_picture(error: PermanentError) -> None:
    world = World(picture=error)

    tried = await world.tried(lease(made=3))

    assert tried.settled.state == "delivered"
    assert b'"query.failed"' in world.poster.posted[0].content
    assert error.reason.encode() in world.poster.posted[0].content


async def test_a_picture_that_will_never_be_had_is_told_at_once() -> None:
    world = World(picture=ImageUnreadable("0 bytes", reason="empty"))

    tried = await world.tried(lease())

    assert tried.settled.state == "delivered"
    assert b'"reason":"empty"' in world.poster.posted[0].content.replace(b": ", b":")


async def test_the_lease_is_looked_at_after_all_preparations() -> None:
    """Reading and composing may take longer than the lease."""
    held = lease(left_s=TIMEOUT_S + 0.05)
    world = World(prepare=lambda: time.sleep(0.1))

    tried = await world.tried(replace(held, made=1))

    assert (world.poster.posted, tried.settled.charged) == ([], False)
