"""Similar images, at three levels. Nothing is merged or changed.

`identical`: the same bytes. `same_photo`: another size, another quality; perceptual hashes at most
6 bits apart and cosine from 0.90, unless both say when they were taken and disagree. `burst`:
cosine from 0.90, taken within 60 seconds. Where a hash says nothing (none yet, or of a picture too
flat), a cosine from 0.97 takes its place. Pages whose texts differ (`texts`) are neither of the
last two, however alike they look. Embeddings of one model and preprocessing are compared with each
other only. Why these figures: docs/decisions/0015-perceptual-hash.md.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from core.storage.archive.ownership import visible
from core.storage.finding.texts import texts_differ
from core.transaction import Transaction

Level = Literal["identical", "same_photo", "burst"]

SAME_PHOTO_BITS = 6  # of 63
SAME_PHOTO_COSINE = 0.90
LONE_COSINE = 0.97  # where no hash confirms it
BURST_COSINE = 0.90  # the least of all: `_NEAR` looks no further
_FLAT = 0  # the hash of a picture too flat to be judged by it
BURST_S = 60
#: Embeddings compared one by one: 200,000 of 512 dimensions take about 0.2 s.
MAX_COMPARED = 200_000

# LIMIT bounds the scan. The row comparison keeps vectors of other dimensions away from <=>.
_NEAR = f"""
WITH me AS MATERIALIZED (
    SELECT t.id, t.sha256, t.model, t.preprocessing, t.exif_datetime, t.perceptual_hash,
           t.text_lines, e.embedding
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
       t.perceptual_hash AS hash, me.perceptual_hash AS my_hash,
       t.text_lines AS text, me.text_lines AS my_text,
       (SELECT count(*) FROM compared) AS compared
FROM me LEFT JOIN (near JOIN tagged_images t ON t.sha256 = near.sha256
                   JOIN images i ON i.image_id = t.image_id)
     ON near.cosine >= $3 AND t.id <> me.id
        AND (t.model, t.preprocessing) = (me.model, me.preprocessing)
        AND i.status NOT IN ('missing', 'deleted')
        AND {visible("$4")}
ORDER BY is_identical DESC, cosine DESC, t.id LIMIT $5
"""  # noqa: S608 - constants only
_GROUPS = f"""
SELECT t.sha256, array_agg(i.image_id ORDER BY t.id) AS image_ids,
       array_agg(i.path ORDER BY t.id) AS paths
FROM tagged_images t JOIN images i USING (image_id)
WHERE t.sha256 > $1 AND i.status NOT IN ('missing', 'deleted')
  AND {visible("$2")}
GROUP BY t.sha256 HAVING count(*) > 1 ORDER BY t.sha256 LIMIT $3
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class Look:
    """What tells whether images that are alike to the model are one photo.

    Attributes:
        hash: the perceptual hash; None: there is none.
        taken: time of the shot.
        text: what the lines of a page of text look like; None: it is no page.
    """

    hash: int | None
    taken: datetime | None
    text: bytes | None


@dataclass(frozen=True, slots=True)
class Alike:
    """An image that is like another one.

    Attributes:
        cosine: of the two embeddings, -1..1.
        hash_distance: bits by which the perceptual hashes differ, 0..63; None: they say nothing.
    """

    image_id: UUID
    path: str
    level: Level
    cosine: float
    hash_distance: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """The images similar to one.

    Attributes:
        is_complete: all embeddings of its model were compared, and of those that are near enough
            each was looked at, or as many as were wanted are similar.
    """

    images: tuple[Alike, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class AlikeGroup:
    """Images with the same bytes, the oldest first."""

    sha256: bytes
    image_ids: tuple[UUID, ...]
    paths: tuple[str, ...]


def hash_distance(one: int | None, other: int | None) -> int | None:
    """Return the bits by which two perceptual hashes differ; None where one says nothing."""
    if one is None or other is None or _FLAT in {one, other}:
        return None
    return (one ^ other).bit_count()


def level_of(one: Look, other: Look, *, is_identical: bool, cosine: float) -> Level | None:
    """Return the level at which two images are similar; None if they are not."""
    if is_identical:
        return "identical"
    level = _level_by_look(one, other, cosine)
    return None if level is None or texts_differ(one.text, other.text) else level


def _level_by_look(one: Look, other: Look, cosine: float) -> Level | None:
    apart_s = None
    if one.taken is not None and other.taken is not None:
        apart_s = abs((one.taken - other.taken).total_seconds())
    if not apart_s and _is_same_photo(cosine, hash_distance(one.hash, other.hash)):
        return "same_photo"
    if apart_s is not None and apart_s <= BURST_S and cosine >= BURST_COSINE:
        return "burst"  # EXIF counts whole seconds: shots of a burst may say the same
    return None


def _is_same_photo(cosine: float, bits_apart: int | None) -> bool:
    if bits_apart is None:
        return cosine >= LONE_COSINE
    return bits_apart <= SAME_PHOTO_BITS and cosine >= SAME_PHOTO_COSINE


async def alike(connection: Transaction, image_id: UUID, *, owner: str | None, limit: int) -> Found:
    """Return images that are like this one, the most alike first; none where it has no tags.

    Args:
        owner: only what this owner may see; None: all.
    """
    # More rows than wanted: some will turn out to be too far apart in time, or of another text.
    most = 10 * limit + 100
    rows = await connection.fetch(_NEAR, image_id, MAX_COMPARED, BURST_COSINE, owner, most)
    # Hundreds of pages are compared line by line: on the event loop all would wait.
    images = await asyncio.to_thread(_all_alike, rows)
    is_all = len(rows) < most or len(images) >= limit
    is_complete = not rows or (is_all and rows[0]["compared"] < MAX_COMPARED)
    return Found(images[:limit], is_complete=is_complete)


def _all_alike(rows: Sequence[Mapping[str, Any]]) -> tuple[Alike, ...]:
    found = (_alike(row) for row in rows if row["image_id"] is not None)
    return tuple(one for one in found if one is not None)


def _alike(row: Mapping[str, Any]) -> Alike | None:
    level = level_of(
        Look(row["hash"], row["taken"], row["text"]),
        Look(row["my_hash"], row["my_taken"], row["my_text"]),
        is_identical=row["is_identical"],
        cosine=row["cosine"],
    )
    if level is None:
        return None
    return Alike(
        row["image_id"],
        row["path"],
        level,
        round(row["cosine"], 6),
        hash_distance(row["hash"], row["my_hash"]),
    )


async def identical(
    connection: Transaction, *, owner: str | None, after: bytes, limit: int
) -> Sequence[AlikeGroup]:
    """Return groups of images with the same bytes, by hash, from behind `after` on."""
    rows = await connection.fetch(_GROUPS, after, owner, limit)
    return [AlikeGroup(row["sha256"], tuple(row["image_ids"]), tuple(row["paths"])) for row in rows]
