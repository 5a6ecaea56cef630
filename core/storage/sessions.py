"""Sessions of the page, and the one-time codes that begin them: digests only, never the values."""

from dataclasses import dataclass
from datetime import datetime

from core.storage.keys import COLUMNS, ApiKey, key_of
from core.transaction import Transaction

#: Of one key. Whoever begins more loses those that would end first.
MOST_OF_A_KEY = 100

_ADD = "INSERT INTO sessions (digest, key_id, created_at, expires_at) VALUES ($1, $2, $3, $4)"
_TRIM = """
DELETE FROM sessions WHERE digest IN (
    SELECT digest FROM sessions WHERE key_id = $1 ORDER BY expires_at DESC, digest OFFSET $2)
"""
_FIND = f"""
SELECT s.began_at, s.ends_at, {COLUMNS} FROM api_keys JOIN (
    SELECT key_id, created_at AS began_at, expires_at AS ends_at FROM sessions WHERE digest = $1
) s USING (key_id)
"""  # noqa: S608 - a constant
_PROLONG = "UPDATE sessions SET expires_at = $2 WHERE digest = $1 AND expires_at < $2"
_END = "DELETE FROM sessions WHERE digest = $1"
_END_ALL = """
WITH codes AS (DELETE FROM session_codes WHERE key_id = $1)
DELETE FROM sessions WHERE key_id = $1
"""
_ADD_CODE = "INSERT INTO session_codes (digest, key_id, expires_at) VALUES ($1, $2, $3)"
_TRIM_CODES = """
DELETE FROM session_codes WHERE digest IN (
    SELECT digest FROM session_codes WHERE key_id = $1 ORDER BY expires_at DESC, digest OFFSET $2)
"""
# Deleting is taking: of two that come with one code at once, one finds no row.
_TAKE_CODE = "DELETE FROM session_codes WHERE digest = $1 RETURNING key_id, expires_at"


@dataclass(frozen=True, slots=True)
class PageSession:
    """A session as it is kept, with its key, usable or not."""

    key: ApiKey
    began_at: datetime
    ends_at: datetime


async def add(tx: Transaction, digest: bytes, session: PageSession) -> None:
    """Keep a new session."""
    key_id = session.key.key_id
    await tx.execute(_ADD, digest, key_id, session.began_at, session.ends_at)
    await tx.execute(_TRIM, key_id, MOST_OF_A_KEY)


async def find(connection: Transaction, digest: bytes) -> PageSession | None:
    """Return the session with this digest, whether it has ended or not."""
    row = await connection.fetchrow(_FIND, digest)
    if row is None:
        return None
    values = dict(row)
    began_at, ends_at = values.pop("began_at"), values.pop("ends_at")
    return PageSession(key_of(values), began_at, ends_at)


async def prolong(tx: Transaction, digest: bytes, ends_at: datetime) -> None:
    """Let a session end later."""
    await tx.execute(_PROLONG, digest, ends_at)


async def end(tx: Transaction, digest: bytes) -> None:
    """End a session."""
    await tx.execute(_END, digest)


async def end_all(tx: Transaction, key_id: str) -> None:
    """End all sessions of a key, and the codes that would begin further ones."""
    await tx.execute(_END_ALL, key_id)


async def add_code(tx: Transaction, digest: bytes, key_id: str, expires_at: datetime) -> None:
    """Keep a code that begins one session."""
    await tx.execute(_ADD_CODE, digest, key_id, expires_at)
    await tx.execute(_TRIM_CODES, key_id, MOST_OF_A_KEY)


async def take_code(tx: Transaction, digest: bytes, now: datetime) -> str | None:
    """Use a code up; return the id of its key, None where it is unknown, used or old."""
    row = await tx.fetchrow(_TAKE_CODE, digest)
    return None if row is None or row["expires_at"] <= now else str(row["key_id"])
