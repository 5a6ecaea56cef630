"""Deletion of images; each leaves a tombstone with its id and time.

An owner ends the own ownership; the image goes with the last one, unless it is open to all. An
administrator deletes it wholly.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from core.storage import labels
from core.storage.archive import image_tags, ownership
from core.transaction import Transaction

# Nothing is left that tells of the picture: what a URI names may be a path, a token, its hash. Who
# has the picture can tell by `deleted_content` that it is this one, and nobody else can. The job
# stays, which counts its images to its end. The clock, not the transaction's time: an upload that
# this waited for is older. `image_tags` goes with the image's tags; triggers count, and have the
# best images looked at again.
_DELETE = """
UPDATE images SET status = 'deleted', deleted_at = clock_timestamp(), updated_at = now(),
    deleted_content = sha256(uuid_send(image_id) || sha256),
    uri = '', path = '', open_to_all = false, media_type = NULL, size_bytes = NULL, sha256 = NULL,
    reason = NULL, detail = NULL, ratio = 0, colour = NULL, event_time = NULL,
    event_is_bulk = false, excluded = false, hand_tags = NULL, rejected_tags = '{}',
    added_tags = '{}', decided_by = $2, decided_at = now(), moved_to = NULL
WHERE image_id = $1 AND status <> 'deleted'
RETURNING deleted_at
"""
# All are locked in one order, so that none of them is deleted until the transaction ends.
_TOMBSTONES = """
WITH held AS (
    SELECT image_id, status, deleted_content FROM images WHERE image_id = ANY($1::uuid[])
    ORDER BY image_id FOR NO KEY UPDATE
)
SELECT image_id, deleted_content FROM held WHERE status = 'deleted'
"""
_NOTE_JOBS = """
UPDATE images SET job_id = u.job_id FROM unnest($1::uuid[], $2::uuid[]) AS u (image_id, job_id)
WHERE images.image_id = u.image_id AND u.job_id IS NOT NULL
"""
_DELETE_TAGS = "DELETE FROM tagged_images WHERE image_id = $1"
# Who saw the image cannot be told from what is left of it, and is to be told that it is gone.
_DELETE_OWNERS = """
WITH saw AS (DELETE FROM image_owners WHERE image_id = $1 RETURNING owner)
INSERT INTO changes (kind, ids, gone_for)
SELECT 'image', ARRAY[$1::uuid], owner FROM saw
UNION ALL SELECT 'image', ARRAY[$1::uuid], '' FROM images WHERE image_id = $1 AND open_to_all
"""
_DELETE_FAILURES = "DELETE FROM failures WHERE image_id = $1"
_DELETE_UNDO = "DELETE FROM image_change_rows WHERE image_id = $1"  # what was decided about it
_DELETE_PARKED = "DELETE FROM parked_images WHERE image_id = $1"
_REMAINS = """
SELECT (SELECT open_to_all FROM images WHERE image_id = $1)
       OR EXISTS (SELECT FROM image_owners WHERE image_id = $1) AS remains, clock_timestamp() AS at
"""


@dataclass(frozen=True, slots=True)
class Scanned:
    """A file that a scan found.

    Attributes:
        sha256: of its bytes; None: they could not be read.
    """

    image_id: UUID
    sha256: bytes | None
    job_id: UUID | None


@dataclass(frozen=True, slots=True)
class Departure:
    """The end of somebody's ownership.

    Attributes:
        remains: the image is still there, since others own it or all may see it.
    """

    at: datetime
    remains: bool


async def leave(tx: Transaction, image_id: UUID, owner: str) -> Departure | None:
    """End somebody's ownership of an image, which goes with its last owner; None if there is none.

    What was decided about the image by hand belongs to it, and stays with it.
    """
    # Held until the end: of two owners who leave at once the second one finds the first one gone.
    await image_tags.lock(tx, [image_id])
    if not await ownership.leave(tx, image_id, owner):
        return None
    row = await tx.fetchrow(_REMAINS, image_id)
    if row is not None and row["remains"]:
        return Departure(row["at"], remains=True)
    deleted_at = await delete(tx, image_id, by=owner)
    return None if deleted_at is None else Departure(deleted_at, remains=False)


async def delete(tx: Transaction, image_id: UUID, *, by: str | None = None) -> datetime | None:
    """Delete an image, whoever owns it; return the time, or None if it is unknown.

    Its tags go at once. Its bytes and its embedding go when the pruner finds that no other image
    has them: a crash in between leaves them to it.
    """
    # Tags before their rows in `image_tags`, as who changes tags by SQL has it through a trigger.
    await image_tags.lock(tx, [image_id])
    # Before the tombstone, which nobody owns: what goes is counted for those who had it.
    await tx.execute(_DELETE_TAGS, image_id)
    await tx.execute(_DELETE_OWNERS, image_id)
    await tx.execute(_DELETE_FAILURES, image_id)
    await tx.execute(_DELETE_PARKED, image_id)
    await tx.execute(_DELETE_UNDO, image_id)
    await labels.unlearn(tx, image_id)
    deleted_at: datetime | None = await tx.fetchval(_DELETE, image_id, by)
    return deleted_at


async def stay_deleted(
    tx: Transaction, scanned: Sequence[Scanned], image_ids: Collection[UUID]
) -> set[Scanned]:
    """Return those of these files that were deleted and are the same since; their jobs count them.

    Args:
        image_ids: of all images that this transaction writes.
    """
    rows = await tx.fetch(_TOMBSTONES, sorted(image_ids))
    deleted = {row["image_id"]: row["deleted_content"] for row in rows}
    held = [file for file in scanned if file.image_id in deleted and _is_same(file, deleted)]
    if held:
        jobs = {file.image_id: file.job_id for file in held}
        await tx.execute(_NOTE_JOBS, list(jobs), list(jobs.values()))
    return set(held)


def _is_same(file: Scanned, deleted: dict[UUID, bytes | None]) -> bool:
    """Tell whether a file is the deleted one, as far as anybody knows."""
    known = deleted[file.image_id]
    if known is None or file.sha256 is None:
        return True
    return known == sha256(file.image_id.bytes + file.sha256).digest()
