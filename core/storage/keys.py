"""API keys (as digests only) and the encrypted signing secrets of their owners."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core.transaction import Transaction

#: Owner of the instance's own signing secret: signs for queries that came straight from a topic.
INSTANCE = ""

COLUMNS = "key_id, owner, name, digest, scopes, created_at, expires_at, last_used_at, revoked_at"
_ADD = """
INSERT INTO api_keys (key_id, owner, name, digest, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_FIND = f"SELECT {COLUMNS} FROM api_keys WHERE key_id = $1"  # noqa: S608 - a constant
_LIST = f"""
SELECT {COLUMNS} FROM api_keys WHERE $1::text IS NULL OR owner = $1
ORDER BY owner, created_at, key_id
"""  # noqa: S608 - a constant
_USABLE = f"""
SELECT {COLUMNS} FROM api_keys
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
  AND ($1::text IS NULL OR key_id = $1)
ORDER BY 'admin' = ANY(scopes) DESC, created_at DESC, key_id LIMIT 1
"""  # noqa: S608 - a constant
_REVOKE = """
UPDATE api_keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL RETURNING key_id
"""
# The statement checks the time too, since many processes may write at once.
_TOUCH = """
UPDATE api_keys SET last_used_at = now()
WHERE key_id = $1 AND (last_used_at IS NULL OR last_used_at < now() - $2::interval)
"""
_HAS_USABLE = """
SELECT EXISTS (SELECT FROM api_keys WHERE owner = $1 AND name = $2 AND revoked_at IS NULL
               AND (expires_at IS NULL OR expires_at > now()))
"""
# Two processes that create a key `--if-absent` at once must not both find none.
_LOCK_OWNER = "SELECT pg_advisory_xact_lock(hashtextextended('api_keys/' || $1, 0))"
_HAS_SIGNING = """
SELECT EXISTS (SELECT FROM signing_secrets WHERE owner = $1
               AND (expires_at IS NULL OR expires_at > now()))
"""
_ADD_SIGNING = "INSERT INTO signing_secrets (owner, secret) VALUES ($1, $2)"
_EXPIRE_SIGNING = """
UPDATE signing_secrets SET expires_at = now() + $2::interval
WHERE owner = $1 AND (expires_at IS NULL OR expires_at > now() + $2::interval)
"""
# Rows are locked. A secret created meanwhile is not selected; it uses the newest key anyway.
_SEALED = """
SELECT id, owner, secret FROM signing_secrets WHERE id > $1 ORDER BY id LIMIT $2 FOR UPDATE
"""
_RESEAL = "UPDATE signing_secrets SET secret = $2 WHERE id = $1"
_SIGNING = """
SELECT secret FROM signing_secrets
WHERE owner = $1 AND (expires_at IS NULL OR expires_at > now()) ORDER BY id DESC
"""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored, without its text.

    Attributes:
        digest: SHA-256 of the whole key; 256 random bits need no slow hash.
    """

    key_id: str
    owner: str
    name: str
    digest: bytes
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_usable(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A signing secret as it is kept, in force or expired."""

    id: int
    owner: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class NewKey:
    """What is written of a key that was just made."""

    key_id: str
    owner: str
    name: str
    digest: bytes
    scopes: tuple[str, ...]
    expires_at: datetime | None = None


async def add(tx: Transaction, key: NewKey) -> None:
    """Keep a new key."""
    await tx.execute(
        _ADD, key.key_id, key.owner, key.name, key.digest, list(key.scopes), key.expires_at
    )


async def find(connection: Transaction, key_id: str) -> ApiKey | None:
    """Return the key with this id, usable or not; None if there is none."""
    row = await connection.fetchrow(_FIND, key_id)
    return None if row is None else key_of(row)


async def list_all(connection: Transaction, owner: str | None = None) -> tuple[ApiKey, ...]:
    """Return all keys, or those of one owner, the oldest of each owner first."""
    rows: Iterable[Any] = await connection.fetch(_LIST, owner)
    return tuple(key_of(row) for row in rows)


async def usable(connection: Transaction, key_id: str | None) -> ApiKey | None:
    """Return a usable key: the one with this id, else the newest of those that may do most."""
    row = await connection.fetchrow(_USABLE, key_id)
    return None if row is None else key_of(row)


async def revoke(tx: Transaction, key_id: str) -> bool:
    """End a key; False where it does not exist or had ended before."""
    return await tx.fetchval(_REVOKE, key_id) is not None


async def touch(tx: Transaction, key_id: str, *, older_than: timedelta) -> None:
    """Note that a key was used, unless that was noted a short time ago."""
    await tx.execute(_TOUCH, key_id, older_than)


async def lock_owner(tx: Transaction, owner: str) -> None:
    """Let no other process change the keys of this owner until `tx` ends."""
    await tx.fetchval(_LOCK_OWNER, owner)


async def has_usable(connection: Transaction, owner: str, name: str) -> bool:
    """Tell whether a usable key with this owner and name exists."""
    return bool(await connection.fetchval(_HAS_USABLE, owner, name))


async def has_secret(connection: Transaction, owner: str) -> bool:
    """Tell whether the owner has a signing secret that is not expired."""
    return bool(await connection.fetchval(_HAS_SIGNING, owner))


async def add_secret(tx: Transaction, owner: str, encrypted: bytes) -> None:
    """Keep a signing secret, encrypted by the caller; the newest one signs first."""
    await tx.execute(_ADD_SIGNING, owner, encrypted)


async def signing_secrets(connection: Transaction, owner: str) -> list[bytes]:
    """Return the owner's signing secrets that are in force, encrypted, the newest first."""
    return [bytes(row["secret"]) for row in await connection.fetch(_SIGNING, owner)]


async def expire_secrets(tx: Transaction, owner: str, *, after: timedelta) -> None:
    """Let the present signing secrets of an owner end after a while, for rotation."""
    await tx.execute(_EXPIRE_SIGNING, owner, after)


async def sealed(tx: Transaction, *, after: int, limit: int) -> list[SealedSecret]:
    """Return the next signing secrets by id, of all owners, locked until `tx` ends."""
    return [
        SealedSecret(row["id"], row["owner"], bytes(row["secret"]))
        for row in await tx.fetch(_SEALED, after, limit)
    ]


async def reseal(tx: Transaction, secret_id: int, encrypted: bytes) -> None:
    """Keep the same secret encrypted anew."""
    await tx.execute(_RESEAL, secret_id, encrypted)


def key_of(row: Any) -> ApiKey:
    """Return the key of a row with `COLUMNS`."""
    values = dict(row)
    return ApiKey(**{**values, "scopes": tuple(values["scopes"])})
