"""Pruning of all tables that grow, a portion of one table per transaction.

Old rows are found by an index on their time. Bytes and vectors are deleted when nothing refers to
them, which no index shows: their tables are scanned in the order of their keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from core.storage.delivery import deliveries, operator_events
from core.storage.locks import PRUNING
from core.storage.stream import heartbeats
from core.transaction import Transaction

PORTION = 500
#: Keys of one look at a table whose rows go when nothing refers to them.
LOOK = 2000
_LOCK = "SELECT pg_try_advisory_xact_lock($1)"

# Rows that may come to life again are locked when they are found, and left where somebody does
# that: a deletion that waits for one would not look at its age again.
_AGED = {
    "queries": """
        DELETE FROM queries WHERE query_id IN (
            SELECT query_id FROM queries
            WHERE status = 'answered' AND answered_at < now() - $1::interval LIMIT $2)
    """,
    "deleted_queries": """
        DELETE FROM queries WHERE query_id IN (
            SELECT query_id FROM queries WHERE deleted_at < now() - $1::interval LIMIT $2)
    """,
    "deliveries": deliveries.PRUNE,
    "failures": """
        DELETE FROM failures WHERE (image_id, reason) IN (
            SELECT image_id, reason FROM failures WHERE last_at < now() - $1::interval LIMIT $2
            FOR UPDATE SKIP LOCKED)
    """,
    "dead_letters": """
        DELETE FROM dead_letters WHERE id IN (
            SELECT id FROM dead_letters WHERE created_at < now() - $1::interval LIMIT $2)
    """,
    "target_events": """
        DELETE FROM target_events WHERE id IN (
            SELECT id FROM target_events WHERE at < now() - $1::interval LIMIT $2)
    """,
    "targets": """
        DELETE FROM targets WHERE target IN (
            SELECT target FROM targets
            WHERE disabled_at IS NULL AND changed_at < now() - $1::interval LIMIT $2
            FOR UPDATE SKIP LOCKED)
    """,
    "totals": """
        DELETE FROM totals WHERE (kind, audience, key) IN (
            SELECT kind, audience, key FROM totals
            WHERE kind = 'hour' AND key < hour_of(now() - $1::interval) LIMIT $2)
    """,
    "outbox_places": """
        DELETE FROM outbox_places WHERE outbox_id IN (
            SELECT outbox_id FROM outbox_places WHERE published_at < now() - $1::interval LIMIT $2)
    """,
    "label_previews": """
        DELETE FROM label_previews WHERE preview_id IN (
            SELECT preview_id FROM label_previews WHERE created_at < now() - $1::interval LIMIT $2)
    """,
    "large_thumbs": """
        DELETE FROM thumbs WHERE (sha256, size) IN (
            SELECT sha256, size FROM thumbs
            WHERE size = 'large' AND created_at < now() - $1::interval LIMIT $2)
    """,
    "heartbeats": heartbeats.PRUNE,
    "sessions": """
        DELETE FROM sessions WHERE digest IN (
            SELECT digest FROM sessions WHERE expires_at < now() - $1::interval LIMIT $2)
    """,
    "session_codes": """
        DELETE FROM session_codes WHERE digest IN (
            SELECT digest FROM session_codes WHERE expires_at < now() - $1::interval LIMIT $2)
    """,
    "inbox_posts": """
        DELETE FROM inbox_posts WHERE id IN (
            SELECT id FROM inbox_posts WHERE at < now() - $1::interval LIMIT $2)
    """,
    "asked_once": """
        DELETE FROM asked_once WHERE (owner, operation, key) IN (
            SELECT owner, operation, key FROM asked_once
            WHERE asked_at < now() - $1::interval LIMIT $2)
    """,
    "target_health": """
        DELETE FROM target_health WHERE (target, instance) IN (
            SELECT target, instance FROM target_health
            WHERE updated_at < now() - $1::interval LIMIT $2)
    """,
    "operator_events": operator_events.PRUNE,
    "members": """
        DELETE FROM members WHERE (grp, instance) IN (
            SELECT grp, instance FROM members WHERE updated_at < now() - $1::interval LIMIT $2
            FOR UPDATE SKIP LOCKED)
    """,
    "jobs": """
        DELETE FROM jobs WHERE job_id IN (
            SELECT job_id FROM jobs WHERE finished_at < now() - $1::interval LIMIT $2)
    """,
    "image_change_rows": """
        DELETE FROM image_change_rows WHERE (change_id, image_id) IN (
            SELECT r.change_id, r.image_id
            FROM image_change_rows r JOIN image_changes c USING (change_id)
            WHERE r.changed_at < now() - $1::interval
              AND c.state NOT IN ('waiting', 'running', 'undoing') LIMIT $2)
    """,
    "image_changes": """
        DELETE FROM image_changes WHERE change_id IN (
            SELECT change_id FROM image_changes c
            WHERE created_at < now() - $1::interval
              AND state NOT IN ('waiting', 'running', 'undoing')
              AND NOT EXISTS (SELECT FROM image_change_rows r WHERE r.change_id = c.change_id)
            LIMIT $2)
    """,
    "tombstones": """
        DELETE FROM images WHERE image_id IN (
            SELECT image_id FROM images
            WHERE status = 'deleted' AND deleted_at < now() - $1::interval LIMIT $2
            FOR UPDATE SKIP LOCKED)
    """,
}
AGED = tuple(_AGED)

_KEYS = {
    "blobs": "SELECT sha256 FROM blobs WHERE sha256 > $1 ORDER BY sha256 LIMIT $2",
    "embeddings": """
        SELECT DISTINCT sha256 FROM embeddings WHERE sha256 > $1 ORDER BY sha256 LIMIT $2
    """,
    "thumbs": "SELECT DISTINCT sha256 FROM thumbs WHERE sha256 > $1 ORDER BY sha256 LIMIT $2",
}
# Young ones are kept, since the transaction of their image may still be open. Using one again
# resets its age, and locks its row until the image is committed.
_SWEEP = {
    "blobs": """
        DELETE FROM blobs WHERE sha256 IN (
            SELECT sha256 FROM blobs b
            WHERE sha256 = ANY($1::bytea[]) AND created_at < now() - $2::interval
              AND NOT EXISTS (SELECT FROM images i
                              WHERE i.sha256 = b.sha256 AND i.status <> 'deleted')
            FOR UPDATE SKIP LOCKED)
    """,
    "embeddings": """
        DELETE FROM embeddings WHERE (sha256, model, preprocessing) IN (
            SELECT sha256, model, preprocessing FROM embeddings e
            WHERE sha256 = ANY($1::bytea[]) AND created_at < now() - $2::interval
              AND NOT EXISTS (SELECT FROM tagged_images t WHERE t.sha256 = e.sha256)
            FOR UPDATE SKIP LOCKED)
    """,
    "thumbs": """
        DELETE FROM thumbs WHERE (sha256, size) IN (
            SELECT sha256, size FROM thumbs s
            WHERE sha256 = ANY($1::bytea[]) AND created_at < now() - $2::interval
              AND NOT EXISTS (SELECT FROM images i
                              WHERE i.sha256 = s.sha256 AND i.status <> 'deleted')
            FOR UPDATE SKIP LOCKED)
    """,
}
SWEPT = tuple(_SWEEP)

_UNREFERENCED = """
SELECT u.sha256 FROM unnest($1::bytea[]) AS u (sha256)
WHERE NOT EXISTS (SELECT FROM images i WHERE i.sha256 = u.sha256 AND i.status <> 'deleted')
"""


@dataclass(frozen=True, slots=True)
class Portion:
    """The result of one transaction.

    Attributes:
        rows: how many went.
        after: where the next portion begins; None: the table is done for now.
    """

    rows: int = 0
    after: bytes | None = None


async def prune(tx: Transaction, table: str, age: timedelta, after: bytes = b"") -> Portion:
    """Delete one portion of what is older than `age`; nothing where another process prunes.

    Args:
        table: one of `AGED` or `SWEPT`.
        after: of the portion before.
    """
    if not await tx.fetchval(_LOCK, PRUNING):
        return Portion()
    if table in _SWEEP:
        return await _sweep(tx, table, age, after)
    rows = _count(await tx.execute(_AGED[table], age, PORTION))
    return Portion(rows, b"" if rows == PORTION else None)


def statement(table: str) -> str:
    """The statement of one of `AGED`: its parameters are the age and the portion."""
    return _AGED[table]


async def unreferenced(connection: Transaction, digests: Sequence[bytes]) -> list[bytes]:
    """Return those hashes that no image has."""
    return [row["sha256"] for row in await connection.fetch(_UNREFERENCED, digests)]


async def _sweep(tx: Transaction, table: str, age: timedelta, after: bytes) -> Portion:
    keys = [row["sha256"] for row in await tx.fetch(_KEYS[table], after, LOOK)]
    rows = _count(await tx.execute(_SWEEP[table], keys, age)) if keys else 0
    return Portion(rows, keys[-1] if len(keys) == LOOK else None)


def _count(tag: str) -> int:
    return int(tag.rsplit(maxsplit=1)[-1])
