"""Images that are alike, at three levels. Nothing here merges or changes anything.

`identical`: the same bytes. `same_photo`: cosine from 0.97 (another size, another quality), unless
both say when they were taken and disagree. `burst`: cosine from 0.90, taken within 60 seconds.
Embeddings of one model and preprocessing are compared with each other only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from core.transaction import Transaction

Level = Literal["identical", "same_photo", "burst"]

SAME_PHOTO_COSINE = 0.97  # research/clip.md, section 6: confirmed by it, also without a hash
BURST_COSINE = 0.90
BURST_S = 60
#: Embeddings compared one by one: 200,000 of 512 dimensions take about 0.2 s.
MAX_COMPARED = 200_000

# LIMIT bounds the scan. The row comparison keeps vectors of other dimensions away from <=>.
_NEAR = """
WITH me AS MATERIALIZED (
    SELECT t.id, t.sha256, t.model, t.preprocessing, t.exif_datetime, e.embedding
    FROM tagged_images t JOIN embeddings e USING (sha256, model, preprocessing)
    WHERE t.image_id = $1
), compared AS MATERIALIZED (
    SELECT e.sha256, e.embedding FROM embeddings e
    WHERE (e.model, e.preprocessing) = (SELECT model, preprocessing FROM me) LIMIT $2
), near AS MATERIALIZED (
    SELECT c.sha256, 1 - (c.embedding <=> me.embedding) AS cosine FROM compared c, me
)
SELECT i.image_id, i.path, least(near.cosine, 1) AS cosine, t.sha256 = me.sha256 AS is_identical,
       t.exif_datetime AS taken, me.exif_datetime AS my_taken,
       (SELECT count(*) FROM compared) AS compared
FROM me LEFT JOIN (near JOIN tagged_images t ON t.sha256 = near.sha256
                   JOIN images i ON i.image_id = t.image_id)
     ON near.cosine >= $3 AND t.id <> me.id
        AND (t.model, t.preprocessing) = (me.model, me.preprocessing)
        AND i.status NOT IN ('missing', 'deleted')
        AND ($4::text IS NULL OR i.owner IS NULL OR i.owner = $4)
ORDER BY is_identical DESC, cosine DESC, t.id LIMIT $5
"""
_GROUPS = """
SELECT t.sha256, array_agg(i.image_id ORDER BY t.id) AS image_ids,
       array_agg(i.path ORDER BY t.id) AS paths
FROM tagged_images t JOIN images i USING (image_id)
WHERE t.sha256 > $1 AND i.status NOT IN ('missing', 'deleted')
  AND ($2::text IS NULL OR i.owner IS NULL OR i.owner = $2)
GROUP BY t.sha256 HAVING count(*) > 1 ORDER BY t.sha256 LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class Alike:
    """An image that is like another one.

    Attributes:
        cosine: of the two embeddings, -1..1.
    """

    image_id: UUID
    path: str
    level: Level
    cosine: float


@dataclass(frozen=True, slots=True)
class Found:
    """What is like an image.

    Attributes:
        is_complete: all embeddings of its model were compared.
    """

    images: tuple[Alike, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Images with the same bytes, the oldest first."""

    sha256: bytes
    image_ids: tuple[UUID, ...]
    paths: tuple[str, ...]


def level_of(
    *, is_identical: bool, cosine: float, taken: datetime | None, other: datetime | None
) -> Level | None:
    """Give how two images are alike; None: not enough to call it anything."""
    if is_identical:
        return "identical"
    if taken is not None and other is not None and taken != other:
        apart_s = abs((taken - other).total_seconds())
        return "burst" if apart_s <= BURST_S and cosine >= BURST_COSINE else None
    return "same_photo" if cosine >= SAME_PHOTO_COSINE else None


async def alike(connection: Transaction, image_id: UUID, *, owner: str | None, limit: int) -> Found:
    """Give images that are like this one, the most alike first; none where it has no tags.

    Args:
        owner: only this owner's, and those of nobody; None: all.
    """
    # More rows than wanted: some will turn out to be too far apart in time.
    rows = await connection.fetch(
        _NEAR, image_id, MAX_COMPARED, BURST_COSINE, owner, 10 * limit + 100
    )
    images = []
    for row in rows:
        if row["image_id"] is None:
            continue
        level = level_of(
            is_identical=row["is_identical"],
            cosine=row["cosine"],
            taken=row["taken"],
            other=row["my_taken"],
        )
        if level is not None:
            images.append(Alike(row["image_id"], row["path"], level, round(row["cosine"], 6)))
    return Found(tuple(images[:limit]), is_complete=not rows or rows[0]["compared"] < MAX_COMPARED)


async def identical(
    connection: Transaction, *, owner: str | None, after: bytes, limit: int
) -> Sequence[Group]:
    """Give groups of images with the same bytes, by hash, from behind `after` on."""
    rows = await connection.fetch(_GROUPS, after, owner, limit)
    return [Group(row["sha256"], tuple(row["image_ids"]), tuple(row["paths"])) for row in rows]
