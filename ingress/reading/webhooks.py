"""Read a webhook as its receiver does: signature, type, query, photo."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from core.errors import ConfigurationError
from core.storage import keys
from core.storage.delivery.signers import signers
from core.transaction import Transaction
from core.webhooks.signature import is_genuine, parse_secret
from core.webhooks.signing_secrets import SecretBox

MAX_TYPE_CHARS = 100
# SHA-256 and JSON take some milliseconds per MiB.
OFF_LOOP_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ReadWebhook:
    """What a webhook says; None: nothing that can be read.

    Attributes:
        signature_ok: None: there was nothing to check it with.
    """

    signature_ok: bool | None
    type: str | None = None
    query_id: UUID | None = None
    image_id: UUID | None = None


async def secrets_of(
    connection: Transaction, box: SecretBox | None, owner: str, url: str
) -> Sequence[bytes] | None:
    """Return the keys that sign webhooks of an owner to an address; None: they cannot be opened."""
    if box is None:
        return None
    for name in await signers(connection, owner, url):
        if sealed := await keys.signing_secrets(connection, name):
            try:
                return [parse_secret(box.open(one.decode(), owner=name)) for one in sealed]
            except ConfigurationError:  # sealed with another SECRETS_KEY
                return None
    return []


async def read_webhook(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes] | None, now: float
) -> ReadWebhook:
    """Return what a webhook says, and whether it is signed."""
    if len(body) <= OFF_LOOP_BYTES:
        return _read(headers, body, secrets, now)
    return await asyncio.to_thread(_read, headers, body, secrets, now)


def _read(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes] | None, now: float
) -> ReadWebhook:
    signature_ok = None if secrets is None else is_genuine(headers, body, secrets, now)
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return ReadWebhook(signature_ok)
    if not isinstance(message, dict):
        return ReadWebhook(signature_ok)
    kind, data = message.get("type"), message.get("data")
    return ReadWebhook(
        signature_ok,
        _words(kind) if isinstance(kind, str) else None,
        _id_in(data, "query_id"),
        _id_in(data.get("image") if isinstance(data, dict) else None, "id"),
    )


def _words(text: str) -> str:
    """Return a text that PostgreSQL takes."""
    return text.encode(errors="replace").decode().replace("\0", "")[:MAX_TYPE_CHARS]


def _id_in(value: object, name: str) -> UUID | None:
    """Return the UUID of this name in an object that came as JSON."""
    try:
        return UUID(str(value.get(name))) if isinstance(value, dict) else None
    except ValueError:
        return None
