"""What speaks for one or the other of images that are alike: their columns, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.storage.finding.duplicates import Level, Look, hash_distance, level_of
from core.storage.finding.texts import texts_differ
from core.transaction import Transaction

_IMAGES = """
SELECT i.image_id, i.path, i.size_bytes, i.excluded, t.id, t.sha256, t.width, t.height, t.camera,
       t.exif_datetime, t.exif_source, coalesce(t.exif_datetime, i.arrived_at AT TIME ZONE 'UTC')
           AS newest_by
FROM images i JOIN tagged_images t USING (image_id)
WHERE image_id = ANY($1::uuid[]) AND i.status NOT IN ('missing', 'deleted')
"""
# CASE keeps vectors of other dimensions away from <=>.
_COMPARED = """
SELECT one.sha256 = two.sha256 AS is_identical, one.perceptual_hash AS hash,
       two.perceptual_hash AS other_hash, one.exif_datetime AS taken,
       two.exif_datetime AS other_taken, one.text_lines AS text, two.text_lines AS other_text,
       CASE WHEN (one.model, one.preprocessing) = (two.model, two.preprocessing)
            THEN least(1 - (e.embedding <=> f.embedding), 1) END AS cosine
FROM tagged_images one JOIN tagged_images two ON one.image_id = $1 AND two.image_id = $2
LEFT JOIN embeddings e ON (e.sha256, e.model, e.preprocessing)
                        = (one.sha256, one.model, one.preprocessing)
LEFT JOIN embeddings f ON (f.sha256, f.model, f.preprocessing)
                        = (two.sha256, two.model, two.preprocessing)
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """An image as its likes are compared with it.

    Attributes:
        row: of `tagged_images`: the order in which they were tagged first.
    """

    image_id: UUID
    path: str
    row: int
    sha256: bytes
    width: int
    height: int
    size_bytes: int | None
    camera: str | None
    exif_datetime: datetime | None
    exif_source: str | None
    excluded: bool

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.width * self.height

    @property
    def is_from_camera(self) -> bool:
        """Whether a camera says when it was taken."""
        return self.camera is not None and self.exif_source == "DateTimeOriginal"


@dataclass(frozen=True, slots=True)
class AlikePair:
    """How alike two images are; `level` is None where they are not, by what is known of them.

    Attributes:
        texts_differ: both are pages of text, with different lines.
    """

    level: Level | None
    cosine: float | None
    hash_distance: int | None
    texts_differ: bool = False


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Which of some images to keep, and why: in what it is better than each of the others."""

    keep: UUID
    why: tuple[str, ...]


async def images(connection: Transaction, image_ids: Sequence[UUID]) -> Mapping[UUID, Evidence]:
    """Return these images, those that are there."""
    rows = await connection.fetch(_IMAGES, list(image_ids))
    return {
        row["image_id"]: Evidence(
            row["image_id"], row["path"], row["id"], row["sha256"], row["width"], row["height"],
            row["size_bytes"], row["camera"], row["exif_datetime"], row["exif_source"],
            row["excluded"],
        )
        for row in rows
    }  # fmt: skip


async def compare(connection: Transaction, one: UUID, other: UUID) -> AlikePair:
    """Return how alike two images are."""
    row = await connection.fetchrow(_COMPARED, one, other)
    if row is None:
        return AlikePair(None, None, None)
    bits = hash_distance(row["hash"], row["other_hash"])
    cosine = None if row["cosine"] is None else round(row["cosine"], 6)
    level: Level | None = "identical" if row["is_identical"] else None
    if cosine is not None:
        level = level_of(
            Look(row["hash"], row["taken"], row["text"]),
            Look(row["other_hash"], row["other_taken"], row["other_text"]),
            is_identical=row["is_identical"],
            cosine=cosine,
        )
    if level == "identical":
        return AlikePair(level, None, None)
    return AlikePair(level, cosine, bits, texts_differ(row["text"], row["other_text"]))


def suggestion(alike: Sequence[Evidence]) -> Suggestion | None:
    """Return which of some images to keep; None where no ground speaks for one of them.

    One with more pixels before one with a camera's date, before one with more bytes, before the one
    that was here first. What is excluded already is suggested last. Where the size of a file is not
    known, none is better by its size.
    """
    if len(alike) < 2:
        return None
    known = all(one.size_bytes is not None for one in alike)
    sizes = {one.image_id: (one.size_bytes or 0) * known for one in alike}
    best = max(
        alike,
        key=lambda one: (
            not one.excluded, one.pixels, one.is_from_camera, sizes[one.image_id], -one.row,
        ),
    )  # fmt: skip
    others = [one for one in alike if one is not best]
    grounds = {
        "not_excluded": not best.excluded and all(one.excluded for one in others),
        "larger": all(best.pixels > one.pixels for one in others),
        "camera_date": best.is_from_camera and not any(one.is_from_camera for one in others),
        "more_bytes": all(sizes[best.image_id] > sizes[one.image_id] for one in others),
        "older": all(best.row < one.row for one in others),
    }
    why = tuple(ground for ground, holds in grounds.items() if holds)
    return Suggestion(best.image_id, why) if why else None


def bytes_to_gain(alike: Sequence[Evidence]) -> int:
    """Return how many bytes all but the largest file take."""
    sizes = [one.size_bytes or 0 for one in alike]
    return sum(sizes) - max(sizes, default=0)
