"""What grows is pruned: rows older than their retention, in small portions."""

from collections.abc import Mapping
from datetime import timedelta

from core.transaction import Transaction

PORTION = 500
#: One pruner at a time, whatever the number of processes.
LOCK = 7304
_LOCK = "SELECT pg_try_advisory_xact_lock($1)"

_PRUNE = {
    "queries": """
        DELETE FROM queries WHERE query_id IN (
            SELECT query_id FROM queries
            WHERE status = 'answered' AND answered_at < now() - $1::interval LIMIT $2)
    """,
    "deliveries": """
        DELETE FROM deliveries WHERE delivery_id IN (
            SELECT delivery_id FROM deliveries
            WHERE state IN ('delivered', 'dead') AND finished_at < now() - $1::interval LIMIT $2)
    """,
    "failures": """
        DELETE FROM failures WHERE (image_id, reason) IN (
            SELECT image_id, reason FROM failures WHERE last_at < now() - $1::interval LIMIT $2)
    """,
    "dead_letters": """
        DELETE FROM dead_letters WHERE id IN (
            SELECT id FROM dead_letters WHERE created_at < now() - $1::interval LIMIT $2)
    """,
    "host_events": """
        DELETE FROM host_events WHERE id IN (
            SELECT id FROM host_events WHERE at < now() - $1::interval LIMIT $2)
    """,
    "outbox_places": """
        DELETE FROM outbox_places WHERE outbox_id IN (
            SELECT outbox_id FROM outbox_places WHERE published_at < now() - $1::interval LIMIT $2)
    """,
    # Young bytes are left: the transaction of their image may still be open.
    "blobs": """
        DELETE FROM blobs WHERE sha256 IN (
            SELECT sha256 FROM blobs b
            WHERE created_at < now() - $1::interval
              AND NOT EXISTS (SELECT FROM images i
                              WHERE i.sha256 = b.sha256 AND i.status <> 'deleted')
            LIMIT $2 FOR UPDATE SKIP LOCKED)
    """,
    "label_previews": """
        DELETE FROM label_previews WHERE preview_id IN (
            SELECT preview_id FROM label_previews WHERE created_at < now() - $1::interval LIMIT $2)
    """,
    "embeddings": """
        DELETE FROM embeddings WHERE (sha256, model, preprocessing) IN (
            SELECT sha256, model, preprocessing FROM embeddings e
            WHERE created_at < now() - $1::interval
              AND NOT EXISTS (SELECT FROM tagged_images t WHERE t.sha256 = e.sha256)
            LIMIT $2 FOR UPDATE SKIP LOCKED)
    """,
}
TABLES = tuple(_PRUNE)


async def prune(tx: Transaction, ages: Mapping[str, timedelta]) -> dict[str, int]:
    """Delete one portion of what is older than its age, per table; give how many rows went.

    Empty where another process prunes at this moment. Call again while a figure is `PORTION`.

    Args:
        ages: table -> age; a table without one is kept for ever.
    """
    if not await tx.fetchval(_LOCK, LOCK):
        return {}
    return {
        table: int((await tx.execute(_PRUNE[table], age, PORTION)).split()[-1])
        for table, age in ages.items()
    }
