"""Tags of images: `tagged_images`, `image_tags` and embeddings, replaced together."""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from core.storage import labels
from core.storage.archive.images import COMES_BACK, OWNER_COMES_BACK
from core.tags import ImageTags, TagScore, score_to_int
from core.transaction import Transaction

#: (EXIF time, creation, now) -> what "newest" compares, as int4 (`core.relevance.ranking`).
Recency = Callable[[datetime | None, datetime, datetime], int]

_IMAGES = f"""
INSERT INTO images (image_id, uri, path, owner, job_id, sha256, media_type, status)
SELECT u.*, 'tagged'
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::bytea[], $7::text[])
     AS u (image_id, uri, path, owner, job_id, sha256, media_type)
ORDER BY u.image_id
ON CONFLICT (image_id) DO UPDATE SET
    status = 'tagged', reason = NULL, detail = NULL, path = excluded.path, sha256 = excluded.sha256,
    media_type = excluded.media_type, job_id = coalesce(excluded.job_id, images.job_id),
    updated_at = now(), {OWNER_COMES_BACK}, {COMES_BACK}
RETURNING image_id, excluded, hand_tags
"""  # noqa: S608 - constants only

_TAGGED = """
INSERT INTO tagged_images (image_id, image_path, tags, exif_datetime, sha256, width, height,
                           model, preprocessing, label_version, top_k, model_tags, camera,
                           perceptual_hash)
SELECT u.image_id, u.path, u.tags::jsonb, u.exif, u.sha256, u.width, u.height,
       u.model, u.preprocessing, u.label_version, u.top_k, u.model_tags::jsonb, u.camera,
       u.perceptual_hash
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamp[], $5::bytea[], $6::int4[],
            $7::int4[], $8::text[], $9::text[], $10::int4[], $11::int4[], $12::text[],
            $13::text[], $14::int8[])
     AS u (image_id, path, tags, exif, sha256, width, height, model, preprocessing,
           label_version, top_k, model_tags, camera, perceptual_hash)
ORDER BY u.image_id
ON CONFLICT (image_id) DO UPDATE SET
    image_path = excluded.image_path, tags = excluded.tags,
    exif_datetime = excluded.exif_datetime, sha256 = excluded.sha256, width = excluded.width,
    height = excluded.height, model = excluded.model, preprocessing = excluded.preprocessing,
    label_version = excluded.label_version, top_k = excluded.top_k,
    model_tags = excluded.model_tags, camera = excluded.camera,
    perceptual_hash = excluded.perceptual_hash, updated_at = now()
RETURNING id, image_id, created_at, xmax <> 0 AS existed
"""

_LOCK_IMAGES = """
SELECT FROM images WHERE image_id = ANY($1::uuid[]) ORDER BY image_id FOR UPDATE
"""
_LOCK_TAGGED = """
SELECT FROM tagged_images WHERE image_id = ANY($1::uuid[]) ORDER BY image_id FOR UPDATE
"""

_CLEAR = "DELETE FROM image_tags WHERE image_id = ANY($1::int4[])"

_SCORES = """
INSERT INTO image_tags (image_id, score, ts, label_id)
SELECT * FROM unnest($1::int4[], $2::int4[], $3::int4[], $4::int2[])
"""

# One that is kept becomes young again, and its row is held against the pruner until we commit.
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
    """

    image_id: UUID
    uri: str
    path: str
    owner: str | None
    job_id: UUID | None
    tags: ImageTags
    label_version: int | None
    top_k: int


@dataclass(frozen=True, slots=True)
class StoredTags:
    """One image's tags as they were stored.

    Attributes:
        number: id of the row in `tagged_images`.
        existed: it had tags before.
        scores: (label id, score in millionths); none where it is excluded from the answers.
    """

    number: int
    ts: int
    existed: bool
    scores: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Curated:
    """What people decided about an image.

    Attributes:
        tags: shown in place of the model's.
        excluded: it is never an answer.
    """

    tags: tuple[TagScore, ...] | None = None
    excluded: bool = False


_UNTOUCHED = Curated()


async def lock(tx: Transaction, image_ids: Sequence[UUID]) -> None:
    """Keep these images from being changed by others until the transaction ends.

    Comes before labels are added: a trigger that follows tags changed by hand takes its image's row
    first and the labels' lock second, and two orders would be a deadlock.
    """
    await tx.execute(_LOCK_IMAGES, list(image_ids))
    await tx.execute(_LOCK_TAGGED, list(image_ids))


async def replace(
    tx: Transaction,
    images: Sequence[TaggedImage],
    label_ids: Mapping[str, int],
    recency: Recency,
) -> tuple[StoredTags, ...]:
    """Store these images' tags in place of what they had; the same image must not stand twice.

    Tags set by hand stay what is shown; the model's are kept beside them. Who does not offer the
    result to `core.storage.best.combos` need do nothing: triggers note it.

    Args:
        label_ids: id of every tag's label.
        recency: gives what "newest" compares.
    """
    if not images:
        return ()
    curated = await _upsert_images(tx, images)
    by_hand = {tag.tag for one in curated.values() for tag in one.tags or ()}
    ids = {**label_ids, **(await labels.known(tx, by_hand) if by_hand else {})}
    rows = await tx.fetch(_TAGGED, *_tagged_columns(images, curated))
    stored = _stored(images, rows, curated, ids, recency)
    await write_scores(tx, stored)
    await tx.execute(
        _EMBEDDINGS,
        [image.tags.sha256 for image in images],
        [image.tags.model for image in images],
        [image.tags.preprocessing for image in images],
        [vector_text(image.tags.embedding) for image in images],
    )
    return stored


async def write_scores(tx: Transaction, stored: Sequence[StoredTags]) -> None:
    """Put these rows of `image_tags` in place of those that the images have."""
    await tx.execute(_CLEAR, [image.number for image in stored])
    scores = [(image, label_id, score) for image in stored for label_id, score in image.scores]
    await tx.execute(
        _SCORES,
        [image.number for image, _, _ in scores],
        [score for _, _, score in scores],
        [image.ts for image, _, _ in scores],
        [label_id for _, label_id, _ in scores],
    )


def _stored(
    images: Sequence[TaggedImage],
    rows: Sequence[Mapping[str, Any]],
    curated: Mapping[UUID, Curated],
    label_ids: Mapping[str, int],
    recency: Recency,
) -> tuple[StoredTags, ...]:
    now = datetime.now(UTC)
    row_of = {row["image_id"]: row for row in rows}
    return tuple(
        StoredTags(
            number=row["id"],
            ts=recency(image.tags.exif_datetime, row["created_at"], now),
            existed=row["existed"],
            scores=()
            if decided.excluded
            else tuple((label_ids[tag.tag], tag.score) for tag in _shown(image, decided)),
        )
        for image in images
        for row in (row_of[image.image_id],)
        for decided in (curated.get(image.image_id, _UNTOUCHED),)
    )


def _shown(image: TaggedImage, decided: Curated) -> tuple[TagScore, ...]:
    return image.tags.tags if decided.tags is None else decided.tags


async def _upsert_images(tx: Transaction, images: Sequence[TaggedImage]) -> dict[UUID, Curated]:
    """Return what people decided about those of the images where they did."""
    rows = await tx.fetch(
        _IMAGES,
        [image.image_id for image in images],
        [image.uri for image in images],
        [image.path for image in images],
        [image.owner for image in images],
        [image.job_id for image in images],
        [image.tags.sha256 for image in images],
        [image.tags.media_type for image in images],
    )
    return {
        row["image_id"]: Curated(read_tags(row["hand_tags"]), row["excluded"])
        for row in rows
        if row["excluded"] or row["hand_tags"] is not None
    }


def _tagged_columns(
    images: Sequence[TaggedImage], curated: Mapping[UUID, Curated]
) -> tuple[list[object], ...]:
    decided = [curated.get(image.image_id, _UNTOUCHED) for image in images]
    return (
        [image.image_id for image in images],
        [image.path for image in images],
        [tags_json(_shown(image, one)) for image, one in zip(images, decided, strict=True)],
        [image.tags.exif_datetime for image in images],
        [image.tags.sha256 for image in images],
        [image.tags.width for image in images],
        [image.tags.height for image in images],
        [image.tags.model for image in images],
        [image.tags.preprocessing for image in images],
        [image.label_version for image in images],
        [image.top_k for image in images],
        [
            None if one.tags is None else tags_json(image.tags.tags)
            for image, one in zip(images, decided, strict=True)
        ],
        [image.tags.camera for image in images],
        [image.tags.perceptual_hash for image in images],
    )


def read_tags(text: str | None) -> tuple[TagScore, ...] | None:
    """Return the tags in a JSON column."""
    if text is None:
        return None
    return tuple(TagScore(tag["tag"], score_to_int(tag["score"])) for tag in json.loads(text))


def tags_json(tags: Sequence[TagScore]) -> str:
    """Return the column `tags`: `[{"tag": …, "score": …}]`, best first."""
    return json.dumps(
        [{"tag": tag.tag, "score": tag.confidence} for tag in tags], ensure_ascii=False
    )


def vector_text(embedding: bytes) -> str:
    """Return float16 little-endian bytes in pgvector's text form."""
    values = struct.unpack(f"<{len(embedding) // 2}e", embedding)
    return "[" + ",".join(f"{value:.6g}" for value in values) + "]"
