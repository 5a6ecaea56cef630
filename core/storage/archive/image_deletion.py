"""Deletion of images; each leaves a tombstone with its id and time."""

from datetime import datetime
from uuid import UUID

from core.storage.archive import image_tags
from core.transaction import Transaction

# Nothing is left that tells of the picture: what a URI names may be a path, a token, its hash. The
# job stays, which counts its images to its end. The clock, not the transaction's time: an upload
# that this waited for is older. `image_tags` goes with the image's tags; triggers count, and have
# the best images looked at again.
_DELETE = """
UPDATE images SET status = 'deleted', deleted_at = clock_timestamp(), updated_at = now(),
    uri = '', path = '', owner = NULL, media_type = NULL, size_bytes = NULL, sha256 = NULL,
    reason = NULL, detail = NULL, event_time = NULL, excluded = false, hand_tags = NULL,
    decided_by = $3, decided_at = now()
WHERE image_id = $1 AND status <> 'deleted' AND ($2::text IS NULL OR owner = $2)
RETURNING deleted_at
"""
_DELETE_TAGS = """
WITH gone AS (DELETE FROM tagged_images WHERE image_id = $1 RETURNING id)
DELETE FROM noted_images n USING gone WHERE n.image_id = gone.id
"""
_DELETE_OWNERS = "DELETE FROM image_owners WHERE image_id = $1"
_DELETE_FAILURES = "DELETE FROM failures WHERE image_id = $1"
_DELETE_PARKED = "DELETE FROM parked_images WHERE image_id = $1"


async def delete(
    tx: Transaction, image_id: UUID, *, owner: str | None, by: str | None = None
) -> datetime | None:
    """Delete an image; return the time, or None if it is unknown or of another owner than given.

    Its tags go at once. Its bytes and its embedding go when the pruner finds that no other image
    has them: a crash in between leaves them to it.
    """
    # Tags before their rows in `image_tags`, as who changes tags by SQL has it through a trigger.
    await image_tags.lock(tx, [image_id])
    deleted_at: datetime | None = await tx.fetchval(_DELETE, image_id, owner, by)
    if deleted_at is not None:
        await tx.execute(_DELETE_TAGS, image_id)
        await tx.execute(_DELETE_OWNERS, image_id)
        await tx.execute(_DELETE_FAILURES, image_id)
        await tx.execute(_DELETE_PARKED, image_id)
    return deleted_at
