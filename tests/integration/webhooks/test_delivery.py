"""Sender, guarded client and schedule together, against a receiver that behaves badly."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from random import Random
from uuid import UUID

import pytest
from standardwebhooks import Webhook

from core.egress.addresses import parse_networks
from core.egress.client import GuardedClient
from core.egress.exchange import Exchange
from core.egress.guard import TargetGuard
from core.egress.targets import TargetPolicy
from core.errors import TargetForbidden, TargetUnreachable
from core.webhooks.schedule import (
    Attempts,
    Delivered,
    GivenUp,
    Retry,
    RetrySchedule,
    Verdict,
    WebhookResponse,
)
from core.webhooks.sender import Message, Poster, WebhookSender
from core.webhooks.signing_secrets import make_secret
from tests.fakes.poster import PlainAnswer, RecordingPoster
from tests.fakes.receiver import HostileReceiver
from tests.fakes.resolver import ScriptedResolver

MESSAGE_ID = UUID("01890000-0000-7000-8000-000000000001")
SECRET = make_secret()
SCHEDULE = RetrySchedule(delays_s=(0, 5), jitter=0.0)


def _guarded_client() -> GuardedClient:
    policy = TargetPolicy(
        schemes=frozenset({"http"}),
        ports=(range(1, 65536),),
        allowed_networks=parse_networks(["127.0.0.1"]),
    )
    return GuardedClient(TargetGuard(policy, ScriptedResolver({})))


@pytest.fixture(name="receiver")
async def _receiver() -> AsyncIterator[HostileReceiver]:
    async with HostileReceiver() as receiver:
        yield receiver


@pytest.fixture(name="sender")
async def _sender() -> AsyncIterator[WebhookSender[Exchange]]:
    async with _guarded_client() as client:
        yield WebhookSender(client, timeout_s=5.0)


@pytest.fixture(name="impatient")
async def _impatient() -> AsyncIterator[WebhookSender[Exchange]]:
    """Set short limits, only for targets that never end: elsewhere a slow machine would fail."""
    async with _guarded_client() as client:
        yield WebhookSender(client, timeout_s=0.5)


async def attempt(sender: WebhookSender[Exchange], url: str, body: bytes = b"{}") -> Verdict:
    now = datetime.now(UTC)
    outcome: Exchange | TargetForbidden | TargetUnreachable
    try:
        outcome = await sender.send(Message(MESSAGE_ID, url, body, (SECRET,)), now=now)
    except (TargetForbidden, TargetUnreachable) as error:
        outcome = error
    return SCHEDULE.verdict(outcome, attempts=Attempts(1, now), now=now, rng=Random(1))


@pytest.mark.parametrize("body", [b'{"a": 1}', b'"' + b"x" * 3_000_000 + b'"'])
async def test_what_arrives_is_accepted_by_the_independent_verifier(
    sender: WebhookSender[Exchange], receiver: HostileReceiver, body: bytes
) -> None:
    verdict = await attempt(sender, receiver.url("/ok"), body)

    request = receiver.requests[0]
    assert verdict == Delivered()
    assert request.body == body
    Webhook(SECRET).verify(request.body, dict(request.headers))


@pytest.mark.parametrize(
    "path",
    [
        "/ok", "/status/204", "/huge", "/drip-body", "/rst-body", "/early-fin", "/stuck/200",
        "/204-body", "/long-header", "/bad-length", "/bad-chunk-at-once", "/drip-headers",
        "/header-flood",
    ],
)  # fmt: skip
async def test_a_2xx_delivers_whatever_comes_behind_its_status_line(
    sender: WebhookSender[Exchange], receiver: HostileReceiver, path: str
) -> None:
    assert await attempt(sender, receiver.url(path)) == Delivered()


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/status/500", "http_5xx"),
        ("/status/404", "http_4xx"),
        ("/stuck/503", "http_5xx"),
        ("/redirect?/ok", "http_3xx"),
        ("/retry-after/3", "http_429"),
        ("/silent", "timeout"),
        ("/500-broken", "http_5xx"),
        ("/rst", "reset"),
        ("/lost", "reset"),
        ("/garbage", "protocol"),
    ],
)
async def test_a_failed_attempt_is_tried_again(
    sender: WebhookSender[Exchange],
    impatient: WebhookSender[Exchange],
    receiver: HostileReceiver,
    path: str,
    outcome: str,
) -> None:
    verdict = await attempt(impatient if outcome == "timeout" else sender, receiver.url(path))

    assert isinstance(verdict, Retry)
    assert (verdict.outcome, verdict.charged) == (outcome, True)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("path", "reason"), [("/gone", "gone"), ("/stuck/410", "gone"), ("/abort", "aborted")]
)
async def test_a_receiver_may_end_the_retries(
    sender: WebhookSender[Exchange], receiver: HostileReceiver, path: str, reason: str
) -> None:
    verdict = await attempt(sender, receiver.url(path))

    assert isinstance(verdict, GivenUp)
    assert verdict.reason == reason


async def test_a_forbidden_target_ends_at_once_and_is_never_connected_to(
    sender: WebhookSender[Exchange],
) -> None:
    verdict = await attempt(sender, "http://169.254.169.254/latest/meta-data/")

    assert verdict == GivenUp("target_forbidden", "target_forbidden")


@asynccontextmanager
async def _real_poster() -> AsyncIterator[tuple[Poster[WebhookResponse], str]]:
    async with HostileReceiver() as receiver, _guarded_client() as client:
        yield client, receiver.url("/status/418")


@asynccontextmanager
async def _fake_poster() -> AsyncIterator[tuple[Poster[WebhookResponse], str]]:
    yield RecordingPoster(PlainAnswer(418)), "http://127.0.0.1/status/418"


@pytest.mark.parametrize("make", [_real_poster, _fake_poster])
async def test_a_poster_gives_an_answer_of_any_status(
    make: Callable[[], AbstractAsyncContextManager[tuple[Poster[WebhookResponse], str]]],
) -> None:
    async with make() as (poster, url):
        answer = await poster.post(
            url, content=b"{}", headers={"x": "y"}, timeout_s=5.0, body_s=2.0
        )

    assert answer.status == 418
    assert "retry-after" not in answer.headers
