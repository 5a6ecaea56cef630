"""The libraries by which receivers check webhooks: they believe ours, and no forgery of one."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from core.webhooks.sender import Message, WebhookSender
from core.webhooks.signing_secrets import make_secret
from tests.fakes.poster import PlainAnswer, RecordingPoster

SECRET, OLDER = make_secret(), make_secret()
BODY = json.dumps({"type": "query.completed", "data": {"text": "кошки", "matched": []}}).encode()


def _believer(module: str) -> Callable[[str, bytes, dict[str, str]], bool]:
    library = pytest.importorskip(module, reason=f"{module} is not installed")

    def believes(secret: str, body: bytes, headers: dict[str, str]) -> bool:
        try:
            library.Webhook(secret).verify(body, headers)
        except library.WebhookVerificationError:
            return False
        return True

    return believes


@pytest.mark.parametrize("module", ["standardwebhooks", "svix.webhooks"])
async def test_a_receivers_library_believes_a_webhook_and_no_forgery(module: str) -> None:
    believes, poster = _believer(module), RecordingPoster()
    sender: WebhookSender[PlainAnswer] = WebhookSender(poster, timeout_s=5)
    message = Message(UUID(int=1), "https://hooks.example/in", BODY, (SECRET, OLDER))

    await sender.send(message, now=datetime.now(UTC))

    [sent] = poster.posted
    headers = dict(sent.headers)
    for secret in (SECRET, OLDER):  # both sign while one replaces the other
        assert believes(secret, sent.content, headers)
        assert not believes(secret, sent.content + b" ", headers)
        assert not believes(secret, sent.content, headers | {"webhook-id": "another"})
        late = headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}
        assert not believes(secret, sent.content, late)
    assert not believes(make_secret(), sent.content, headers)
