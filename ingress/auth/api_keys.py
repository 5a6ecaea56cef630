"""How an API key is written: `pa_<id>_<secret>_<checksum>`, all in base 62.

The prefix lets secret scanners find leaked keys, the id finds the row, and the checksum refuses
typing errors and invented keys without asking the database. Only the SHA-256 of the whole key is
kept: 43 base-62 characters hold 256 random bits, which no dictionary reaches
(docs/research/delivery.md, section 4).
"""

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "pa"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_CHARS = 8
_SECRET_CHARS = 43  # log2(62) * 43 = 256.03 bits
_CHECK_CHARS = 6  # 62**6 > 2**32
_KEY = re.compile(
    rf"{PREFIX}_([0-9A-Za-z]{{{_ID_CHARS}}})_([0-9A-Za-z]{{{_SECRET_CHARS}}})"
    rf"_([0-9A-Za-z]{{{_CHECK_CHARS}}})"
)


class Scope(StrEnum):
    """What a key may do. `admin` may do everything, and sees what belongs to any owner."""

    UPLOAD = "upload"  # send images
    QUERY = "query"  # submit queries, and see one's own
    READ = "read"  # see images
    PATHS = "paths"  # have files and directories under the allowed roots tagged
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key: `text` is shown once and not stored."""

    key_id: str
    text: str
    digest: bytes


def make_key() -> MadeKey:
    """Return a new random key."""
    key_id, secret = _random(_ID_CHARS), _random(_SECRET_CHARS)
    body = f"{PREFIX}_{key_id}_{secret}"
    text = f"{body}_{_checksum(body)}"
    return MadeKey(key_id, text, digest_of(text))


def key_id_of(text: str) -> str | None:
    """Return the id inside a well-formed key; None for anything else."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    body, _, check = text.rpartition("_")
    return match[1] if hmac.compare_digest(check, _checksum(body)) else None


def digest_of(text: str) -> bytes:
    """Return the SHA-256 of a key, which is all that is kept of it."""
    return hashlib.sha256(text.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECK_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
