"""The receiver in the box: its addresses, and what came there. Tables `inboxes`, `inbox_posts`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.transaction import Transaction

MAX_PER_OWNER = 10
MAX_POSTS = 100  # of one inbox; and a day, by the pruner
MAX_BODY_BYTES = 64 * 1024  # of a body, for people to see
_COLUMNS = "token, owner, answer::text AS answer, received, created_at"
_ADD = f"""
INSERT INTO inboxes (token, owner, answer) VALUES ($1, $2, $3::jsonb) RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant
_OF_OWNER = f"""
SELECT {_COLUMNS} FROM inboxes WHERE owner = $1 ORDER BY created_at, token
"""  # noqa: S608 - a constant
_FIND = f"SELECT {_COLUMNS} FROM inboxes WHERE token = $1"  # noqa: S608 - a constant
_SET_ANSWER = f"""
UPDATE inboxes SET answer = $2::jsonb WHERE token = $1 RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant
_COUNTS = "SELECT owner, token, received FROM inboxes ORDER BY created_at"
# It locks the inbox: posts come one after the other. A statement of its own, since one that waited
# for the lock would look at older posts as they were before.
_COUNT = "UPDATE inboxes SET received = received + 1 WHERE token = $1"
_ADD_POST = """
INSERT INTO inbox_posts
    (token, webhook_id, headers, body, body_bytes, signature_ok, type, query_id, image_id,
     attempt_seen)
VALUES ($1, $2, $3::jsonb, $4, $5, $6, $7, $8, $9, 1 + coalesce(
    (SELECT max(attempt_seen) FROM inbox_posts WHERE token = $1 AND webhook_id = $2), 0))
RETURNING id
"""
_TRIM = """
DELETE FROM inbox_posts WHERE token = $1 AND id <= (
    SELECT id FROM inbox_posts WHERE token = $1 ORDER BY id DESC OFFSET $2 LIMIT 1)
"""
_ANSWERED = "UPDATE inbox_posts SET answered = $2 WHERE id = $1"
_POSTS = """
SELECT at, webhook_id, attempt_seen, headers::text AS headers, body, body_bytes, signature_ok, type,
       query_id, image_id, answered
FROM inbox_posts WHERE token = $1 ORDER BY id DESC LIMIT $2
"""
_CLEAR = "DELETE FROM inbox_posts WHERE token = $1"


@dataclass(frozen=True, slots=True)
class Inbox:
    """An address of the receiver in the box.

    Attributes:
        answer: what it answers: `kind`, and `delay_s` of a slow one.
        received: posts since it was made.
    """

    token: str
    owner: str
    answer: Mapping[str, Any]
    received: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewPost:
    """What came to an inbox.

    Attributes:
        body: its first 64 KiB.
        body_bytes: of all of it.
        signature_ok: None: there was nothing to check it with.
    """

    webhook_id: str | None
    headers: Sequence[tuple[str, str]]
    body: bytes
    body_bytes: int
    signature_ok: bool | None
    type: str | None
    query_id: UUID | None
    image_id: UUID | None


@dataclass(frozen=True, slots=True)
class InboxPost:
    """What came to an inbox, as it is kept.

    Attributes:
        attempt_seen: how often its webhook's id had come by then, this time included.
        answered: the status that went back; None: none yet, or never.
    """

    at: datetime
    webhook_id: str | None
    attempt_seen: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    body_bytes: int
    signature_ok: bool | None
    type: str | None
    query_id: UUID | None
    image_id: UUID | None
    answered: int | None


async def add(tx: Transaction, token: str, owner: str, answer: Mapping[str, Any]) -> Inbox:
    """Keep a new inbox."""
    return _inbox(await tx.fetchrow(_ADD, token, owner, json.dumps(dict(answer))))


async def of_owner(connection: Transaction, owner: str) -> Sequence[Inbox]:
    """Return an owner's inboxes, the oldest first."""
    return [_inbox(row) for row in await connection.fetch(_OF_OWNER, owner)]


async def find(connection: Transaction, token: str) -> Inbox | None:
    """Return the inbox of this token, or None."""
    row = await connection.fetchrow(_FIND, token)
    return None if row is None else _inbox(row)


async def counts(connection: Transaction) -> list[tuple[str, str, int]]:
    """Return (owner, token, posts since it was made) of all inboxes."""
    rows = await connection.fetch(_COUNTS)
    return [(row["owner"], row["token"], row["received"]) for row in rows]


async def set_answer(connection: Transaction, token: str, answer: Mapping[str, Any]) -> Inbox:
    """Change what an inbox answers from now on."""
    return _inbox(await connection.fetchrow(_SET_ANSWER, token, json.dumps(dict(answer))))


async def add_post(tx: Transaction, token: str, post: NewPost) -> int:
    """Keep a post, and of the older ones the newest; return its number."""
    await tx.execute(_COUNT, token)
    number: int = await tx.fetchval(
        _ADD_POST,
        token,
        post.webhook_id,
        json.dumps(list(post.headers)),
        post.body,
        post.body_bytes,
        post.signature_ok,
        post.type,
        post.query_id,
        post.image_id,
    )
    await tx.execute(_TRIM, token, MAX_POSTS)
    return number


async def note_answer(connection: Transaction, number: int, status: int) -> None:
    """Note what a post was answered."""
    await connection.execute(_ANSWERED, number, status)


async def posts(connection: Transaction, token: str) -> Sequence[InboxPost]:
    """Return what came to an inbox, the newest first."""
    rows = await connection.fetch(_POSTS, token, MAX_POSTS)
    return [
        InboxPost(**{**dict(row), "headers": tuple(map(tuple, json.loads(row["headers"])))})
        for row in rows
    ]


async def clear(connection: Transaction, token: str) -> None:
    """Forget what came to an inbox."""
    await connection.execute(_CLEAR, token)


def _inbox(row: Any) -> Inbox:
    return Inbox(**{**dict(row), "answer": json.loads(row["answer"])})
