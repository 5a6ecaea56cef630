"""Images from the moment they are accepted to their end: table `images`, and the failure ledger."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from core.storage.archive import keeping, ordering, ownership
from core.storage.archive.ownership import NamedOwner
from core.tags import Made
from core.transaction import Transaction

#: A deleted image that comes back takes all columns from its new arrival, and is undecided.
COMES_BACK = """
    uri = CASE WHEN images.status = 'deleted' THEN excluded.uri ELSE images.uri END,
    arrived_at = CASE WHEN images.status = 'deleted' THEN now() ELSE images.arrived_at END,
    open_to_all = CASE WHEN images.status = 'deleted' THEN excluded.open_to_all
                       ELSE images.open_to_all END,
    decided_by = CASE WHEN images.status = 'deleted' THEN NULL ELSE images.decided_by END,
    decided_at = CASE WHEN images.status = 'deleted' THEN NULL ELSE images.decided_at END,
    deleted_at = NULL, deleted_content = NULL, moved_to = NULL
"""
#: Path and date of the last tagging stay until the next one, so that both tables show the same.
PATH_COMES_BACK = """
    path = CASE WHEN images.status = 'deleted' THEN excluded.path ELSE images.path END,
    taken_at = CASE WHEN images.status = 'deleted' THEN now() ELSE images.taken_at END
"""
_ACCEPT = f"""
INSERT INTO images (image_id, uri, path, open_to_all, media_type, size_bytes, sha256, job_id,
                    status)
VALUES ($1, $2, $3, $4::text IS NULL, $5, $6, $7, $8, 'accepted')
ON CONFLICT (image_id) DO UPDATE SET
    status = CASE WHEN images.status IN ('deleted', 'missing') THEN 'accepted'
                  ELSE images.status END,
    media_type = CASE WHEN images.status = 'deleted' THEN excluded.media_type
                      ELSE images.media_type END,
    size_bytes = CASE WHEN images.status = 'deleted' THEN excluded.size_bytes
                      ELSE images.size_bytes END,
    sha256 = CASE WHEN images.status = 'deleted' THEN excluded.sha256 ELSE images.sha256 END,
    job_id = coalesce(excluded.job_id, images.job_id),
    {PATH_COMES_BACK}, {COMES_BACK}
RETURNING arrived_at <> now() AS is_duplicate, clock_timestamp() AS at,
    -- Where it is others' too it keeps the name that they know it by.
    CASE WHEN old.status <> 'deleted' AND (images.open_to_all OR EXISTS (
                  SELECT FROM image_owners o WHERE o.image_id = images.image_id AND o.owner <> $4))
         THEN images.path ELSE $3 END AS path
"""  # noqa: S608 - constants only

#: What `ImageStatus` is made of, from `images i` and `tagged_images t`.
STATUS_COLUMNS = """
    i.image_id, i.uri, i.path, i.media_type, i.size_bytes, i.sha256, i.status,
    i.reason, i.detail, i.job_id, i.arrived_at, i.updated_at, i.excluded, i.hand_tags, i.colour,
    i.rejected_tags, i.added_tags,
    t.tags, t.exif_datetime, t.exif_source, t.truncated, t.camera, t.model, t.width, t.height,
    t.label_version, t.updated_at AS tagged_at, t.sha256 AS tagged_sha256,
    (SELECT p.reason FROM parked_images p WHERE p.image_id = i.image_id) AS waits_for
"""
_STATUS = f"""
SELECT {STATUS_COLUMNS}
FROM images i LEFT JOIN tagged_images t USING (image_id)
WHERE i.image_id = $1 AND i.status <> 'deleted'
"""  # noqa: S608 - constants only

_VISIBLE_STATUS = f"{_STATUS} AND {ownership.visible('$2')}"

_OUTGOING = """
SELECT i.image_id, i.uri, i.path, i.media_type, i.size_bytes, i.sha256, i.status,
       t.sha256 AS tagged_sha256
FROM images i LEFT JOIN tagged_images t USING (image_id)
WHERE i.image_id = ANY($1)
"""

_FAIL = f"""
INSERT INTO images (image_id, uri, path, open_to_all, job_id, status, reason, detail)
SELECT u.image_id, u.uri, u.path, u.owner IS NULL, u.job_id, 'failed', u.reason, u.detail
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[])
     AS u (image_id, uri, path, owner, job_id, reason, detail)
ORDER BY u.image_id
ON CONFLICT (image_id) DO UPDATE SET
    status = CASE WHEN images.status = 'tagged' THEN 'tagged' ELSE 'failed' END,
    reason = excluded.reason, detail = excluded.detail,
    job_id = coalesce(excluded.job_id, images.job_id), updated_at = now(),
    {PATH_COMES_BACK}, {COMES_BACK}
RETURNING {keeping.COUNTED}, old.event_time AS last_time, old.event_is_bulk AS last_is_bulk
"""  # noqa: S608 - constants only

_LEDGER = """
INSERT INTO failures (image_id, reason, detail)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (image_id, reason, detail)
ORDER BY 1, 2
ON CONFLICT (image_id, reason) DO UPDATE SET
    detail = excluded.detail, attempts = failures.attempts + 1, last_at = now()
"""

_JOB_COUNTS = """
SELECT job_id, status, count(*) FROM images WHERE job_id = ANY($1::uuid[]) GROUP BY job_id, status
"""


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """All that is known of one image.

    Attributes:
        tags: `[{"tag": …, "score": …}]`, best first; None while it has none.
        exif_datetime: as written in the file, without zone.
        exif_source: the field that it comes from.
        truncated: whether the file ends before the picture does; None while it has no tags.
        camera: its maker and model by EXIF.
        colour: mean of the picture, 0xRRGGBB.
        excluded: people took it out of all answers.
        hand_tags: set by people, as `tags`; these are what `tags` shows once it is tagged.
        rejected_tags: of the model, and not shown; `added_tags`: shown beside the model's.
        tagged_at: when the present tags were written.
        tagged_sha256: hash of the bytes that the tags belong to.
        waits_for: why its newest arrival is to be tagged apart from others (`Slowness`); None
            where none waits.
    """

    image_id: UUID
    uri: str
    path: str
    media_type: str | None
    size_bytes: int | None
    sha256: bytes | None
    status: str
    reason: str | None
    detail: str | None
    job_id: UUID | None
    arrived_at: datetime
    updated_at: datetime
    tags: list[dict[str, Any]] | None = field(default=None)
    exif_datetime: datetime | None = None
    model: str | None = None
    width: int | None = None
    height: int | None = None
    label_version: int | None = None
    tagged_at: datetime | None = None
    tagged_sha256: bytes | None = None
    camera: str | None = None
    exif_source: str | None = None
    truncated: bool | None = None
    excluded: bool = False
    hand_tags: list[dict[str, Any]] | None = field(default=None)
    waits_for: str | None = None
    rejected_tags: Sequence[str] = ()
    added_tags: Sequence[str] = ()
    colour: int | None = None


@dataclass(frozen=True, slots=True)
class OutgoingImage:
    """What must be known of an image that is to be sent to somebody.

    Attributes:
        sha256: hash of the bytes that are kept; None where they are not.
        tagged_sha256: hash of the bytes that the tags belong to.
    """

    image_id: UUID
    uri: str
    path: str
    media_type: str | None
    size_bytes: int | None
    sha256: bytes | None
    status: str
    tagged_sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of accepting an image.

    Attributes:
        is_duplicate: it was known before.
        at: PostgreSQL's time with the row locked, so that a deletion is either before or after.
        path: what it is called: as given, but for an image that is others' too.
    """

    is_duplicate: bool
    at: datetime
    path: str


@dataclass(frozen=True, slots=True)
class FailedImage:
    """An image that could not be tagged, and why; `owner` as in `TaggedImage`.

    Attributes:
        made: the arrival that failed.
    """

    image_id: UUID
    uri: str
    path: str
    owner: str | None
    job_id: UUID | None
    reason: str
    detail: str
    made: Made | None = None


async def accept(  # noqa: PLR0913 - keyword-only: the columns of one row
    tx: Transaction,
    *,
    image_id: UUID,
    uri: str,
    path: str,
    owner: str | None = None,
    media_type: str | None = None,
    size_bytes: int | None = None,
    sha256: bytes | None = None,
    job_id: UUID | None = None,
) -> Accepted:
    """Note that an image is there to be tagged; tell whether it was known before, and the time.

    A known image keeps its status and tags until it is tagged again; one that was deleted or
    missing is accepted anew. `owner` is one of its owners from now on; without one it is open to
    all, unless it has owners.
    """
    row = await tx.fetchrow(
        _ACCEPT, image_id, uri, path, owner, media_type, size_bytes, sha256, job_id
    )
    if row is None:
        raise RuntimeError(f"{image_id} was neither inserted nor updated")
    if owner is not None:
        await ownership.join(tx, image_id, owner)
    return Accepted(row["is_duplicate"], row["at"], row["path"])


async def status(connection: Transaction, image_id: UUID) -> ImageStatus | None:
    """Return all that is known of an image; None if it is unknown or deleted."""
    row = await connection.fetchrow(_STATUS, image_id)
    return None if row is None else status_of(dict(row))


async def visible_status(
    connection: Transaction, image_id: UUID, owner: str | None
) -> ImageStatus | None:
    """Return all that is known of an image, if this owner may see it; None: an administrator."""
    row = await connection.fetchrow(_VISIBLE_STATUS, image_id, owner)
    return None if row is None else status_of(dict(row))


def status_of(values: dict[str, Any]) -> ImageStatus:
    """Return the status in a row of `STATUS_COLUMNS`."""
    for column in ("tags", "hand_tags"):
        if isinstance(values.get(column), str):
            values[column] = json.loads(values[column])
    return ImageStatus(**values)


async def outgoing(connection: Transaction, image_ids: Sequence[UUID]) -> dict[UUID, OutgoingImage]:
    """Return those of these images that are known and not deleted."""
    rows = await connection.fetch(_OUTGOING, list(image_ids))
    return {row["image_id"]: OutgoingImage(**dict(row)) for row in rows}


async def record_failures(tx: Transaction, failed: Sequence[FailedImage]) -> None:
    """Put images into the failure ledger; one that has tags keeps them.

    Raises:
        Overtaken: an image was unknown before, and got tags of a later arrival at this moment.
    """
    if not failed:
        return
    await keeping.keep(tx)
    rows = await tx.fetch(
        _FAIL,
        [image.image_id for image in failed],
        [image.uri for image in failed],
        [image.path for image in failed],
        [image.owner for image in failed],
        [image.job_id for image in failed],
        [image.reason for image in failed],
        [image.detail for image in failed],
    )
    ordering.check(rows, {image.image_id: image.made for image in failed})
    await keeping.note_arrivals(
        tx, rows, [NamedOwner(image.image_id, image.owner, image.job_id) for image in failed]
    )
    await tx.execute(
        _LEDGER,
        [image.image_id for image in failed],
        [image.reason for image in failed],
        [image.detail for image in failed],
    )


async def job_counts(connection: Transaction, job_id: UUID) -> dict[str, int]:
    """Return how many of a job's images are in each status."""
    return (await counts_of_jobs(connection, [job_id]))[job_id]


async def counts_of_jobs(
    connection: Transaction, job_ids: Collection[UUID]
) -> dict[UUID, dict[str, int]]:
    """Return how many images are in each status, by job."""
    counts: dict[UUID, dict[str, int]] = {job_id: {} for job_id in job_ids}
    for row in await connection.fetch(_JOB_COUNTS, list(job_ids)):
        counts[row["job_id"]][row["status"]] = row["count"]
    return counts
