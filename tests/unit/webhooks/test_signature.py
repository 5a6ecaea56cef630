"""Signatures: the published vector, an independent verifier, rotation, refusals."""

import base64
import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from core.webhooks.signature import TOLERANCE_S, format_secret, is_genuine, parse_secret, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SENT_AT = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

KEYS = st.binary(min_size=24, max_size=64)


def headers(signature: str, sent_at: int = SENT_AT, message_id: str = MESSAGE_ID) -> dict[str, str]:
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": signature,
    }


def test_the_published_vector_is_reproduced() -> None:
    assert sign(MESSAGE_ID, SENT_AT, BODY, [parse_secret(SECRET)]) == SIGNATURE


@given(text=st.text(max_size=200), keys=st.lists(KEYS, min_size=1, max_size=3, unique=True))
def test_the_independent_verifier_accepts_us_with_any_of_the_secrets(
    text: str, keys: list[bytes]
) -> None:
    now, body = int(time.time()), json.dumps({"text": text}).encode()
    signed = headers(sign(MESSAGE_ID, now, body, keys), now)

    for key in keys:
        assert Webhook(format_secret(key)).verify(body, signed) == {"text": text}


def test_the_independent_verifier_accepts_a_rotated_header() -> None:
    now = int(time.time())
    old, new = b"o" * 24, b"n" * 32
    signature = sign(MESSAGE_ID, now, BODY, [new, old])

    for key in (old, new):
        assert Webhook(format_secret(key)).verify(BODY, headers(signature, now)) == {
            "test": 2432232314
        }


def test_the_independent_signer_makes_the_same_signature() -> None:
    library = Webhook(SECRET)

    signature = library.sign(MESSAGE_ID, datetime.fromtimestamp(SENT_AT, UTC), BODY.decode())

    assert sign(MESSAGE_ID, SENT_AT, BODY, [parse_secret(SECRET)]) == signature


@pytest.mark.parametrize(
    ("message_id", "shift_s", "body"),
    [("msg_other", 0, BODY), (MESSAGE_ID, 1, BODY), (MESSAGE_ID, 0, BODY + b" ")],
)
def test_a_signature_covers_the_id_the_time_and_the_body(
    message_id: str, shift_s: int, body: bytes
) -> None:
    now = int(time.time())
    signature = sign(MESSAGE_ID, now, BODY, [parse_secret(SECRET)])

    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, headers(signature, now + shift_s, message_id))


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "starts with"),
        ("whsec_***", "base64"),
        ("whsec_" + base64.b64encode(b"k" * 23).decode(), "24 to 64"),
        ("whsec_" + base64.b64encode(b"k" * 65).decode(), "24 to 64"),
        ("whsec_", "24 to 64"),
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(secret: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_secret(secret)

    assert len(secret) < 10 or secret.removeprefix("whsec_") not in str(caught.value)


@pytest.mark.parametrize("message_id", ["", "a.b"])
def test_an_id_that_makes_the_signed_text_ambiguous_is_refused(message_id: str) -> None:
    with pytest.raises(ValueError, match="cannot be signed"):
        sign(message_id, SENT_AT, BODY, [parse_secret(SECRET)])


def test_nothing_is_signed_without_a_key() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        sign(MESSAGE_ID, SENT_AT, BODY, [])


@given(KEYS)
def test_a_secret_survives_its_text_form(key: bytes) -> None:
    assert parse_secret(format_secret(key)) == key


def test_a_receiver_takes_what_one_of_its_keys_has_signed_a_short_while_ago() -> None:
    keys = [b"k" * 32, parse_secret(SECRET)]
    given = headers(f"v1,bm90 {SIGNATURE}")

    assert is_genuine(given, BODY, keys, SENT_AT + TOLERANCE_S)
    assert is_genuine(given, BODY, keys, SENT_AT - TOLERANCE_S)
    assert not is_genuine(given, BODY, keys, SENT_AT + TOLERANCE_S + 1)
    assert not is_genuine(given, BODY + b" ", keys, SENT_AT)
    assert not is_genuine(given, BODY, keys[:1], SENT_AT)
    assert not is_genuine(given, BODY, [], SENT_AT)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": ""},
        {"webhook-id": "msg.1"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "1e3"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,\u00e9"},
        {"webhook-signature": SIGNATURE.replace("v1", "v2")},
    ],
)
def test_what_is_not_signed_by_the_rules_is_not_genuine(change: dict[str, str]) -> None:
    assert not is_genuine(headers(SIGNATURE) | change, BODY, [parse_secret(SECRET)], SENT_AT)
