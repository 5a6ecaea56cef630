"""Of several arrivals of one image, on two topics, the one made last counts. Table `images`."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from core.errors import TransientError
from core.storage.archive import ownership
from core.storage.archive.ownership import NamedOwner
from core.tags import Made
from core.transaction import Transaction

# Locks all rows, so that no image is deleted, or tagged by the other lane, between this look and
# the writing of its tags.
# A record's timestamp has milliseconds: one of the deletion's own is not older.
_LATEST = """
SELECT image_id, coalesce(date_trunc('milliseconds', deleted_at), event_time) AS last_time,
       deleted_at IS NOT NULL OR event_is_bulk AS last_is_bulk
FROM images WHERE image_id = ANY($1::uuid[]) ORDER BY image_id FOR NO KEY UPDATE
"""
# What was asked for is done by a later arrival: its job counts it, and who waits for news has it.
_OVERTAKEN = """
UPDATE images SET job_id = coalesce(u.job_id, images.job_id), updated_at = now()
FROM unnest($1::uuid[], $2::uuid[]) AS u (image_id, job_id) WHERE images.image_id = u.image_id
RETURNING images.image_id, images.status
"""


class Overtaken(TransientError):
    """A later arrival of the same image was written in between: what was planned is out of date."""


async def latest(tx: Transaction, image_ids: Sequence[UUID]) -> dict[UUID, Made]:
    """Return what happened last to each of these images: an arrival before it counts no more.

    That is the arrival that its tags come from, or its deletion; images that have neither are
    absent. Nothing more happens to those that are known until the transaction ends.
    """
    rows = await tx.fetch(_LATEST, list(image_ids))
    return {row["image_id"]: last for row in rows if (last := _made(row)) is not None}


async def note_overtaken(
    tx: Transaction, claims: Sequence[NamedOwner], counted: Container[UUID] = ()
) -> None:
    """Note that arrivals were skipped, since later ones of their images had been written.

    Whom they name as owners are owners all the same, unless the image is deleted.

    Args:
        counted: images whose job stays, since that of the later arrival counts them.
    """
    jobs: dict[UUID, UUID | None] = {}
    for claim in claims:
        before = jobs.get(claim.image_id)
        jobs[claim.image_id] = None if claim.image_id in counted else claim.job_id or before
    rows = await tx.fetch(_OVERTAKEN, list(jobs), list(jobs.values()))
    there = {row["image_id"] for row in rows if row["status"] != "deleted"}
    await ownership.join_all(tx, [claim for claim in claims if claim.image_id in there], ())


def check(rows: Iterable[Mapping[str, Any]], made: Mapping[UUID, Made | None]) -> None:
    """Raise if a row that was written over came from a later arrival than the one written now.

    Rows that were there before are locked by `latest`. But two lanes may add one image at the same
    time; then the second finds the row of the first.

    Args:
        rows: with `image_id`, and what the row had before: `last_time`, `last_is_bulk`.
        made: the arrival that was written, by image.

    Raises:
        Overtaken: the transaction must be rolled back; the next try sees the row.
    """
    for row in rows:
        before, now = _made(row), made[row["image_id"]]
        if before is not None and now is not None and before > now:
            raise Overtaken(f"{row['image_id']}: an arrival of {before.at} is later than {now.at}")


def _made(row: Mapping[str, Any]) -> Made | None:
    return Made(row["last_time"], not row["last_is_bulk"]) if row["last_time"] else None
