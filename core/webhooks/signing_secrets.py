"""Signing secrets: made at random, and kept encrypted.

At rest a secret is `v1.<key id>.<base64url of nonce and ciphertext>`, AES-256-GCM, bound to its
owner: a row copied to another owner cannot be opened. The key id lets `SECRETS_KEY` hold several
keys, newest first: all open, the first seals, so a key is changed by putting a new one in front
and sealing the rows again.
"""

import base64
import binascii
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.errors import ConfigurationError
from core.settings import SecretSettings
from core.webhooks.signature import format_secret

KEY_BYTES = 32
NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: random nonces of 96 bits, fine up to 2^32 secrets a key
SECRET_BYTES = 32
_FORMAT = "v1"


def make_secret() -> str:
    """Return a new signing secret: `whsec_` and 32 random bytes."""
    return format_secret(os.urandom(SECRET_BYTES))


def make_key() -> str:
    """Return a new value for `SECRETS_KEY`: 32 random bytes as base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode("ascii")


class SecretBox:
    """Encrypts and decrypts secrets with the instance's keys; derives keys for other uses."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._keys = keys

    @classmethod
    def from_settings(cls, settings: SecretSettings) -> "SecretBox":
        """Return the box that `SECRETS_KEY` opens: keys separated by commas, the newest first.

        Raises:
            ConfigurationError: the variable is empty, or a part is not 32 bytes as base64.
        """
        parts = [part.strip() for part in settings.key.get_secret_value().split(",")]
        return cls(tuple(_parse_key(part, number) for number, part in enumerate(parts, start=1)))

    def seal(self, secret: str, *, owner: str) -> str:
        """Return a secret as it is stored, sealed with the newest key for this owner alone."""
        key_id, cipher = next(iter(self._ciphers.items()))
        nonce = os.urandom(NONCE_BYTES)
        sealed = cipher.encrypt(nonce, secret.encode(), _context(owner))
        return f"{_FORMAT}.{key_id}.{base64.urlsafe_b64encode(nonce + sealed).decode('ascii')}"

    def open(self, sealed: str, *, owner: str) -> str:
        """Return the secret that `seal` was given.

        Raises:
            ConfigurationError: `SECRETS_KEY` lacks the key it was sealed with, or the value was
                altered or belongs to another owner.
        """
        key_id, box = self._split(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise ConfigurationError(
                f"SECRETS_KEY: a stored secret was sealed with key {key_id}, which is not among "
                f"{', '.join(self._ciphers)}; add that key after the first"
            )
        try:
            opened = cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], _context(owner))
        except InvalidTag as error:
            raise ConfigurationError(
                f"a stored secret of {owner} was altered or belongs to another owner"
            ) from error
        return opened.decode()

    def needs_sealing(self, sealed: str) -> bool:
        """Return whether a stored secret is sealed with an older key than the newest."""
        return self._split(sealed)[0] != next(iter(self._ciphers))

    def derived_keys(self, purpose: str) -> tuple[bytes, ...]:
        """Return keys for another purpose (links), newest first; they don't reveal the box's."""
        return tuple(hmac.digest(key, f"derive:{purpose}".encode(), "sha256") for key in self._keys)

    def _split(self, sealed: str) -> tuple[str, bytes]:
        try:
            form, key_id, text = sealed.split(".")
            box = base64.b64decode(text, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error) as error:
            raise ConfigurationError("a stored secret is not in a form that can be read") from error
        if form != _FORMAT or len(box) <= NONCE_BYTES:
            raise ConfigurationError(f"a stored secret has form {form!r}, not {_FORMAT!r}")
        return key_id, box


def _parse_key(text: str, number: int) -> bytes:
    if not text:
        raise ConfigurationError(
            "SECRETS_KEY is not set: signing secrets cannot be made or read without it "
            "(32 random bytes as base64)"
        )
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError as error:  # binascii.Error is one
        raise ConfigurationError(f"SECRETS_KEY: key {number} is not base64") from error
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"SECRETS_KEY: key {number} has {len(key)} bytes, not {KEY_BYTES}")
    return key


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"key id:" + key).hexdigest()[:8]


def _context(owner: str) -> bytes:
    return f"signing secret of {owner}".encode()
