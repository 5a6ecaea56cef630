"""Signatures of Standard Webhooks 1.0, scheme `v1`: HMAC-SHA256 over `id.timestamp.body`.

Receivers verify them with any of the published libraries. Several secrets give several
signatures, so that a secret can be changed without an answer being refused.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
SECRET_PREFIX = "whsec_"  # noqa: S105  # the prefix, not a secret
VERSION = "v1"
TOLERANCE_S = 300  # as the published libraries have it: older ones may be a recording
# Specification, "Signature scheme": 24 to 64 random bytes.
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64


def parse_secret(secret: str) -> bytes:
    """Return the key inside `whsec_<base64>`.

    Raises:
        ValueError: another prefix, no base64, or a key of another length. Does not show the value.
    """
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"a signing secret starts with {SECRET_PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a signing secret is base64 after its prefix") from error
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"a signing secret holds {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {len(key)}"
        )
    return key


def format_secret(key: bytes) -> str:
    """Return `whsec_<base64>` of a key, as receivers enter it."""
    return SECRET_PREFIX + base64.b64encode(key).decode("ascii")


def sign(message_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> str:
    """Return the value of `webhook-signature`: a signature per key, in order, separated by spaces.

    Args:
        message_id: the same over all attempts; without a dot, which separates the signed parts.
        timestamp: of this attempt, Unix seconds.
        body: exactly the bytes that are sent.
        keys: at least one.

    Raises:
        ValueError: no key, or an id that would make the signed text ambiguous.
    """
    if not keys:
        raise ValueError("at least one key is needed to sign")
    if not message_id or "." in message_id:
        raise ValueError(f"{message_id!r} cannot be signed: empty, or with a dot")
    return " ".join(f"{VERSION},{_digest(message_id, timestamp, body, key)}" for key in keys)


def is_genuine(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], now: float) -> bool:
    """Return whether a message is signed with one of the keys, and not long ago.

    Args:
        headers: of the request, names in lower case.
        body: all of it.
        keys: any of them will do.
        now: Unix seconds.
    """
    message_id, sent_at = headers.get(ID_HEADER, ""), headers.get(TIMESTAMP_HEADER, "")
    if not message_id or "." in message_id or not re.fullmatch("[0-9]{1,12}", sent_at):
        return False
    if abs(now - int(sent_at)) > TOLERANCE_S:
        return False
    given = headers.get(SIGNATURE_HEADER, "").encode(errors="replace").split()
    right = [f"{VERSION},{_digest(message_id, int(sent_at), body, key)}".encode() for key in keys]
    return any(hmac.compare_digest(one, other) for one in right for other in given)


def _digest(message_id: str, timestamp: int, body: bytes, key: bytes) -> str:
    signer = hmac.new(key, f"{message_id}.{timestamp}.".encode(), hashlib.sha256)
    signer.update(body)
    return base64.b64encode(signer.digest()).decode("ascii")
