"""Promotions of PostgreSQL, and what a promoted server has forgotten (decision 0048)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.transaction import Transaction

#: Whether a promoted server has forgotten commits and Kafka's log was not asked yet.
UNSETTLED = "SELECT EXISTS (SELECT FROM promotions WHERE settled_at IS NULL)"

SHA256_CHARS = 64
HEX = frozenset("0123456789abcdef")

_ALL = """
SELECT id, noted_at, missing_since, settled_at, answers_kept FROM promotions
WHERE missing_since IS NOT NULL ORDER BY id
"""
_LISTED = "SELECT kind, id, detail FROM forgotten WHERE promotion = $1 ORDER BY kind, id"
_KNOWN = {
    "image": "SELECT image_id FROM images WHERE image_id = ANY($1)",
    "query": "SELECT query_id FROM queries WHERE query_id = ANY($1)",
}
_LIST = """
INSERT INTO forgotten (promotion, kind, id, detail)
SELECT p.id, $1, u.id, $3 FROM unnest($2::uuid[]) AS u (id), promotions p
WHERE p.settled_at IS NULL
ON CONFLICT DO NOTHING
"""
_BYTES = """
SELECT encode(sha256, 'hex') FROM blobs
WHERE sha256 = ANY(SELECT decode(hash, 'hex') FROM unnest($1::text[]) AS hash)
"""
_SETTLE = "UPDATE promotions SET settled_at = now(), answers_kept = $1 WHERE settled_at IS NULL"
_LOCK = "SELECT id FROM promotions WHERE settled_at IS NULL ORDER BY id FOR UPDATE"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Something that Kafka testifies and the database had no row of."""

    kind: str
    id: UUID
    detail: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion of a server that lacked commits.

    Attributes:
        noted_at: when the first connection came to it; what is missing committed before.
        missing_since: the last commit that it had.
        settled_at: when Kafka's log was asked; None: it is being asked.
        answers_kept: answers of queries that were brought back from the log.
        forgotten: what was done again without what only its row knew.
    """

    noted_at: datetime
    missing_since: datetime
    settled_at: datetime | None
    answers_kept: int
    forgotten: tuple[Forgotten, ...]


async def are_unsettled(connection: Transaction) -> bool:
    """Return whether Kafka's log is to be asked."""
    return bool(await connection.fetchval(UNSETTLED))


async def lock(tx: Transaction) -> bool:
    """Let nobody else settle; return False where somebody has."""
    return bool(await tx.fetch(_LOCK))


async def unknown(connection: Transaction, kind: str, ids: Sequence[UUID]) -> list[UUID]:
    """Return those of which there is no row."""
    known = {row[0] for row in await connection.fetch(_KNOWN[kind], list(ids))}
    return [one for one in ids if one not in known]


async def with_bytes(connection: Transaction, hashes: Sequence[str]) -> set[str]:
    """Return those of these SHA-256 (hex) whose bytes are rows."""
    good = [one for one in hashes if len(one) == SHA256_CHARS and set(one) <= HEX]
    return {row[0] for row in await connection.fetch(_BYTES, good)}


async def note(tx: Transaction, kind: str, ids: Sequence[UUID], detail: str) -> None:
    """List these under the promotions that are being settled."""
    await tx.execute(_LIST, kind, list(ids), detail)


async def settle(tx: Transaction, answers_kept: int) -> None:
    """Let the groups go on."""
    await tx.execute(_SETTLE, answers_kept)


async def forgetful(connection: Transaction) -> tuple[Promotion, ...]:
    """Return the promotions that lacked commits, the oldest first, with what each had forgotten."""
    found = []
    for row in await connection.fetch(_ALL):
        listed = [Forgotten(**one) for one in await connection.fetch(_LISTED, row["id"])]
        found.append(
            Promotion(
                row["noted_at"],
                row["missing_since"],
                row["settled_at"],
                row["answers_kept"],
                tuple(listed),
            )
        )
    return tuple(found)
