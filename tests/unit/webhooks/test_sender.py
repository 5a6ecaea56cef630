"""The sender: headers, signatures over the sent bytes, outcomes passed on."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from standardwebhooks import Webhook

from core.egress.client import GuardedClient
from core.egress.exchange import Exchange
from core.errors import TargetUnreachable
from core.webhooks.sender import OFF_LOOP_BYTES, Message, Poster, WebhookSender
from core.webhooks.signing_secrets import make_secret
from tests.fakes.poster import PlainAnswer, RecordingPoster

MESSAGE_ID = UUID("01890000-0000-7000-8000-000000000001")
URL = "https://hooks.example/x"


def message(body: bytes = b'{"type":"query.completed"}', *secrets: str) -> Message:
    return Message(MESSAGE_ID, URL, body, secrets or (make_secret(),))


async def test_a_message_is_posted_once_with_the_standard_headers() -> None:
    poster = RecordingPoster(PlainAnswer(204))
    now = datetime.now(UTC)
    sent = message()

    answer = await WebhookSender(poster, timeout_s=30.0).send(sent, now=now)

    assert answer.status == 204
    (posted,) = poster.posted
    assert (posted.url, posted.content, posted.timeout_s) == (URL, sent.body, 30.0)
    assert posted.headers["webhook-id"] == str(MESSAGE_ID)
    assert posted.headers["webhook-timestamp"] == str(int(now.timestamp()))
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["user-agent"]


@pytest.mark.parametrize("size", [10, OFF_LOOP_BYTES + 1])
async def test_every_secret_of_a_rotation_verifies_what_was_sent(size: int) -> None:
    poster = RecordingPoster()
    secrets = (make_secret(), make_secret())
    body = b'"' + b"x" * size + b'"'

    await WebhookSender(poster, timeout_s=30.0).send(message(body, *secrets), now=datetime.now(UTC))

    for secret in secrets:
        Webhook(secret).verify(poster.posted[0].content, dict(poster.posted[0].headers))


async def test_attempts_share_the_id_and_differ_in_time_and_signature() -> None:
    poster = RecordingPoster()
    sender = WebhookSender(poster, timeout_s=30.0)
    sent = message()

    for second in (0, 5):
        await sender.send(sent, now=datetime(2026, 11, 21, 12, 0, second, tzinfo=UTC))

    first, second_try = (posted.headers for posted in poster.posted)
    assert first["webhook-id"] == second_try["webhook-id"]
    assert first["webhook-timestamp"] != second_try["webhook-timestamp"]
    assert first["webhook-signature"] != second_try["webhook-signature"]


async def test_a_failure_of_the_poster_is_handed_through() -> None:
    poster = RecordingPoster(TargetUnreachable("gone", kind="refused"))

    with pytest.raises(TargetUnreachable):
        await WebhookSender(poster, timeout_s=1.0).send(message(), now=datetime.now(UTC))


async def test_a_wrong_secret_is_an_error_before_anything_is_sent() -> None:
    poster = RecordingPoster()

    with pytest.raises(ValueError, match="whsec_"):
        await WebhookSender(poster, timeout_s=1.0).send(
            message(b"{}", "secret"), now=datetime.now(UTC)
        )
    assert poster.posted == []


def test_the_guarded_client_is_a_poster() -> None:
    def as_poster(client: GuardedClient) -> Poster[Exchange]:
        return client  # the type checker is the test

    assert as_poster.__annotations__["client"] is GuardedClient
