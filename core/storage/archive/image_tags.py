"""Tags of images: `tagged_images`, `image_tags` and embeddings, replaced together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.storage import labels
from core.storage.archive import answer_rows, keeping, moving, ordering, ownership, statistics
from core.storage.archive.answer_rows import StoredTags
from core.storage.archive.images import COMES_BACK
from core.storage.archive.ownership import NamedOwner
from core.storage.archive.statistics import Counts
from core.storage.deciding.decisions import UNDECIDED, Decided, tags_json
from core.storage.vectors import vector_text
from core.tags import ImageTags, Made
from core.transaction import Transaction

# A clock ahead of ours must not shut out arrivals that are made after this transaction. A photo of
# which nobody knows when it was taken counts as taken when it arrived.
_IMAGES = f"""
INSERT INTO images (image_id, uri, path, open_to_all, job_id, sha256, media_type, event_time,
                    event_is_bulk, taken_at, ratio, colour, size_bytes, status)
SELECT u.image_id, u.uri, u.path, u.owner IS NULL, u.job_id, u.sha256, u.media_type,
       least(u.event_time, now()), u.event_is_bulk, moment_taken(u.exif, now()),
       ratio_of(u.width, u.height), u.colour, u.size_bytes, 'tagged'
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::bytea[], $7::text[],
            $8::timestamptz[], $9::bool[], $10::timestamp[], $11::int4[], $12::int4[], $13::int4[],
            $14::int8[])
     AS u (image_id, uri, path, owner, job_id, sha256, media_type, event_time, event_is_bulk, exif,
           width, height, colour, size_bytes)
ORDER BY u.image_id
ON CONFLICT (image_id) DO UPDATE SET
    status = 'tagged', reason = NULL, detail = NULL, path = excluded.path, sha256 = excluded.sha256,
    media_type = excluded.media_type, job_id = coalesce(excluded.job_id, images.job_id),
    event_time = excluded.event_time, event_is_bulk = excluded.event_is_bulk, updated_at = now(),
    taken_at = CASE WHEN excluded.taken_at = now() AND images.status <> 'deleted'
                    THEN images.arrived_at ELSE excluded.taken_at END,
    ratio = excluded.ratio, colour = excluded.colour,
    size_bytes = coalesce(excluded.size_bytes, images.size_bytes),
    {COMES_BACK}
RETURNING {keeping.COUNTED}, images.excluded, images.hand_tags, images.rejected_tags,
    images.added_tags,
    old.taken_at <> images.taken_at AND NOT images.open_to_all AS is_redated,
    old.event_time AS last_time, old.event_is_bulk AS last_is_bulk
"""  # noqa: S608 - constants only

#: Statuses before an arrival that comes to a place where no photo was; None: it was unknown.
_ARRIVING = frozenset({None, "accepted", "missing", "deleted"})

_TAGGED = """
INSERT INTO tagged_images (image_id, image_path, tags, exif_datetime, sha256, width, height,
                           model, preprocessing, label_version, top_k, model_tags, camera,
                           perceptual_hash, exif_source, truncated, text_lines)
SELECT u.image_id, left(u.path, 1000), u.tags::jsonb, u.exif, u.sha256, u.width, u.height,
       u.model, u.preprocessing, u.label_version, u.top_k, u.model_tags::jsonb, u.camera,
       u.perceptual_hash, u.exif_source, u.truncated, u.text_lines
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamp[], $5::bytea[], $6::int4[],
            $7::int4[], $8::text[], $9::text[], $10::int4[], $11::int4[], $12::text[],
            $13::text[], $14::int8[], $15::text[], $16::bool[],
            $17::bytea[])
     AS u (image_id, path, tags, exif, sha256, width, height, model, preprocessing,
           label_version, top_k, model_tags, camera, perceptual_hash, exif_source, truncated,
           text_lines)
ORDER BY u.image_id
ON CONFLICT (image_id) DO UPDATE SET
    image_path = excluded.image_path, tags = excluded.tags,
    exif_datetime = excluded.exif_datetime, sha256 = excluded.sha256, width = excluded.width,
    height = excluded.height, model = excluded.model, preprocessing = excluded.preprocessing,
    label_version = excluded.label_version, top_k = excluded.top_k,
    model_tags = excluded.model_tags, camera = excluded.camera,
    perceptual_hash = excluded.perceptual_hash, exif_source = excluded.exif_source,
    truncated = excluded.truncated, text_lines = excluded.text_lines, updated_at = now()
RETURNING tagged_images.id, tagged_images.image_id, old.id IS NOT NULL AS existed,
    recency(tagged_images.exif_datetime, tagged_images.created_at) AS ts,
    hour_of(tagged_images.updated_at) AS hour,
    month_taken(tagged_images.exif_datetime, tagged_images.created_at) AS month,
    month_taken(old.exif_datetime, old.created_at) AS month_was,
    ratio_of(tagged_images.width, tagged_images.height) AS ratio,
    ratio_of(old.width, old.height) AS ratio_was,
    tagged_images.camera, old.camera AS camera_was,
    (SELECT audiences_of(i.image_id, i.open_to_all) FROM images i
     WHERE i.image_id = tagged_images.image_id) AS audiences
"""

_LOCK_IMAGES = """
SELECT FROM images WHERE image_id = ANY($1::uuid[]) ORDER BY image_id FOR UPDATE
"""
_LOCK_TAGGED = """
SELECT FROM tagged_images WHERE image_id = ANY($1::uuid[]) ORDER BY image_id FOR UPDATE
"""

# The age of a known one is reset, and its row locked against the pruner until we commit.
_EMBEDDINGS = """
INSERT INTO embeddings (sha256, model, preprocessing, embedding)
SELECT DISTINCT ON (1, 2, 3) u.sha256, u.model, u.preprocessing, u.embedding::halfvec
FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[])
     AS u (sha256, model, preprocessing, embedding)
ORDER BY 1, 2, 3
ON CONFLICT (sha256, model, preprocessing) DO UPDATE SET created_at = now()
"""


@dataclass(frozen=True, slots=True)
class TaggedImage:
    """One image with its tags, ready to be stored.

    Attributes:
        label_version: version of the default labels that the tags were made with; None where the
            image has labels of its own.
        owner: whom the arrival names as an owner (`ownership.join_all`).
        made: the arrival that the tags come from.
    """

    image_id: UUID
    uri: str
    path: str
    owner: str | None
    job_id: UUID | None
    tags: ImageTags
    label_version: int | None
    top_k: int
    made: Made | None = None


async def lock(tx: Transaction, image_ids: Sequence[UUID]) -> None:
    """Lock these images against changes by others until the transaction ends.

    Comes before labels are added: everybody locks images first and labels second.
    """
    await tx.execute(_LOCK_IMAGES, list(image_ids))
    await tx.execute(_LOCK_TAGGED, list(image_ids))


async def replace(
    tx: Transaction, images: Sequence[TaggedImage], label_ids: Mapping[str, int]
) -> tuple[StoredTags, ...]:
    """Store these images' tags in place of what they had; the same image must not stand twice.

    Tags set by hand stay what is shown; the model's are kept beside them. The caller offers the
    result to the best images in the same transaction.

    Args:
        label_ids: id of every tag's label.

    Raises:
        Overtaken: an image was unknown before, and got tags of a later arrival at this moment.
    """
    if not images:
        return ()
    await keeping.keep(tx)
    counts = Counts()
    curated = await _upsert_images(tx, images)
    by_hand = {name for one in curated.values() for name in one.names}
    ids = {**label_ids, **(await labels.known(tx, by_hand) if by_hand else {})}
    rows = await tx.fetch(_TAGGED, *_tagged_columns(images, curated))
    _count(rows, counts)
    stored = _stored(images, rows, curated, ids)
    await answer_rows.replace(tx, stored, counts)
    await statistics.append(tx, counts)
    await tx.execute(
        _EMBEDDINGS,
        [image.tags.sha256 for image in images],
        [image.tags.model for image in images],
        [image.tags.preprocessing for image in images],
        [vector_text(image.tags.embedding) for image in images],
    )
    return stored


def _count(rows: Sequence[Mapping[str, Any]], counts: Counts) -> None:
    for row in rows:
        counts.add("hour", row["hour"], 1, audiences=row["audiences"])
        counts.add("ratio", row["month"], 1, row["ratio"], audiences=row["audiences"])
        if row["existed"]:
            counts.add("ratio", row["month_was"], -1, -row["ratio_was"], audiences=row["audiences"])
        counts.move("camera", row["camera_was"], row["camera"], audiences=row["audiences"])


def _stored(
    images: Sequence[TaggedImage],
    rows: Sequence[Mapping[str, Any]],
    curated: Mapping[UUID, Decided],
    label_ids: Mapping[str, int],
) -> tuple[StoredTags, ...]:
    row_of = {row["image_id"]: row for row in rows}
    return tuple(
        StoredTags(
            number=row["id"],
            ts=row["ts"],
            existed=row["existed"],
            scores=()
            if decided.excluded
            else tuple((label_ids[tag.tag], tag.score) for tag in decided.shown(image.tags.tags)),
            audiences=row["audiences"],
        )
        for image in images
        for row in (row_of[image.image_id],)
        for decided in (curated.get(image.image_id, UNDECIDED),)
    )


async def _upsert_images(tx: Transaction, images: Sequence[TaggedImage]) -> dict[UUID, Decided]:
    """Return the manual edits of those images that have any."""
    rows = await tx.fetch(
        _IMAGES,
        [image.image_id for image in images],
        [image.uri for image in images],
        [image.path for image in images],
        [image.owner for image in images],
        [image.job_id for image in images],
        [image.tags.sha256 for image in images],
        [image.tags.media_type for image in images],
        [image.made.at if image.made else None for image in images],
        [image.made is not None and not image.made.is_fresh for image in images],
        [image.tags.exif_datetime for image in images],
        [image.tags.width for image in images],
        [image.tags.height for image in images],
        [image.tags.colour for image in images],
        [image.tags.size_bytes for image in images],
    )
    ordering.check(rows, {image.image_id: image.made for image in images})
    await keeping.note_arrivals(
        tx, rows, [NamedOwner(image.image_id, image.owner, image.job_id) for image in images]
    )
    if redated := [row["image_id"] for row in rows if row["is_redated"]]:
        await ownership.redate(tx, redated)
    arriving = {row["image_id"] for row in rows if row["was"] in _ARRIVING}
    decided = {row["image_id"]: row for row in rows}
    files = [it for it in images if it.image_id in arriving and it.uri.startswith("file:")]
    decided |= await moving.inherit(
        tx, [file.tags.sha256 for file in files], [file.image_id for file in files]
    )
    return {
        image_id: one
        for image_id, one in ((image_id, Decided.of(row)) for image_id, row in decided.items())
        if one != UNDECIDED
    }


def _tagged_columns(
    images: Sequence[TaggedImage], curated: Mapping[UUID, Decided]
) -> tuple[list[object], ...]:
    decided = [curated.get(image.image_id, UNDECIDED) for image in images]
    return (
        [image.image_id for image in images],
        [image.path for image in images],
        [tags_json(one.shown(image.tags.tags)) for image, one in zip(images, decided, strict=True)],
        [image.tags.exif_datetime for image in images],
        [image.tags.sha256 for image in images],
        [image.tags.width for image in images],
        [image.tags.height for image in images],
        [image.tags.model for image in images],
        [image.tags.preprocessing for image in images],
        [image.label_version for image in images],
        [image.top_k for image in images],
        [
            tags_json(image.tags.tags) if one.changes_tags else None
            for image, one in zip(images, decided, strict=True)
        ],
        [image.tags.camera for image in images],
        [image.tags.perceptual_hash for image in images],
        [image.tags.exif_source for image in images],
        [image.tags.truncated for image in images],
        [image.tags.text_lines for image in images],
    )
