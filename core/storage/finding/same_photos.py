"""Pairs of images that are the same photo, for the report on the whole archive.

One image stands for all with the same bytes: those are the report's other level.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.storage.archive.ownership import visible
from core.storage.finding.duplicates import Look, hash_distance, level_of
from core.transaction import Transaction

# The values come as byte strings: 200,000 rows would block the event loop. LIMIT is in the
# subquery, where it ends the scan by id; after GROUP BY the whole archive would be read.
_HASHES = f"""
SELECT coalesce(string_agg(int8send(id), '' ORDER BY id), '') AS ids,
       coalesce(string_agg(int8send(hash), '' ORDER BY id), '') AS hashes,
       coalesce(string_agg(boolsend(is_page), '' ORDER BY id), '') AS pages,
       coalesce(sum(images), 0) AS images
FROM (SELECT min(id) AS id, min(perceptual_hash) AS hash, count(*) AS images,
             bool_or(is_page) AS is_page
      FROM (SELECT t.id, t.perceptual_hash, t.sha256, t.text_lines IS NOT NULL AS is_page
            FROM tagged_images t JOIN images i USING (image_id)
            WHERE t.perceptual_hash <> 0 AND i.status NOT IN ('missing', 'deleted')
              AND {visible("$1")}
            ORDER BY t.id LIMIT $2) AS oldest
      GROUP BY sha256) AS contents
"""  # noqa: S608 - constants only
# CASE keeps vectors of other dimensions away from <=>.
_PAIRS = """
SELECT p.older, p.newer, o.path AS older_path, n.path AS newer_path,
       o.image_id AS older_id, n.image_id AS newer_id,
       one.exif_datetime AS taken, two.exif_datetime AS other_taken,
       one.perceptual_hash AS hash, two.perceptual_hash AS other_hash,
       one.text_lines AS text, two.text_lines AS other_text,
       CASE WHEN (one.model, one.preprocessing) = (two.model, two.preprocessing)
            THEN least(1 - (e.embedding <=> f.embedding), 1) END AS cosine
FROM unnest($1::int8[], $2::int8[]) AS p (older, newer)
JOIN tagged_images one ON one.id = p.older
JOIN tagged_images two ON two.id = p.newer AND two.sha256 <> one.sha256
JOIN images o ON o.image_id = one.image_id
JOIN images n ON n.image_id = two.image_id
JOIN embeddings e ON (e.sha256, e.model, e.preprocessing)
                   = (one.sha256, one.model, one.preprocessing)
JOIN embeddings f ON (f.sha256, f.model, f.preprocessing)
                   = (two.sha256, two.model, two.preprocessing)
ORDER BY p.newer, p.older
"""


@dataclass(frozen=True, slots=True)
class Hashes:
    """Perceptual hashes, the oldest first.

    Attributes:
        ids: of the rows; int8, big endian.
        values: int8, big endian.
        pages: a byte each, 1 where the image is a page of text.
        is_complete: there are no more.
    """

    ids: bytes
    values: bytes
    pages: bytes
    is_complete: bool


@dataclass(frozen=True, slots=True)
class SamePhoto:
    """An image, and an older one that is the same photo.

    Attributes:
        cosine: of their embeddings.
        hash_distance: bits by which their perceptual hashes differ.
    """

    older_id: UUID
    newer_id: UUID
    older_path: str
    newer_path: str
    cosine: float
    hash_distance: int


async def hashes(connection: Transaction, *, owner: str | None, limit: int) -> Hashes:
    """Return the perceptual hashes of the oldest `limit` images that have one.

    Of images with the same bytes the oldest; none that is too flat to be judged.
    """
    [row] = await connection.fetch(_HASHES, owner, limit)
    is_complete = row["images"] < limit
    return Hashes(row["ids"], row["hashes"], row["pages"], is_complete=is_complete)


async def confirmed(
    connection: Transaction, pairs: Sequence[tuple[int, int]]
) -> dict[int, SamePhoto]:
    """Return for each newer image the oldest of its pairs that is the same photo, if any is.

    Args:
        pairs: ids of rows, older and newer.

    Returns:
        By the newer one's id.
    """
    rows = await connection.fetch(
        _PAIRS, [older for older, _ in pairs], [newer for _, newer in pairs]
    )
    # Of a folder of letters, a thousand pairs of pages are compared line by line.
    return await asyncio.to_thread(_oldest, rows)


def _oldest(rows: Sequence[Mapping[str, Any]]) -> dict[int, SamePhoto]:
    found: dict[int, SamePhoto] = {}
    for row in rows:
        if row["newer"] not in found and (same := _same_photo(row)):
            found[row["newer"]] = same
    return found


def _same_photo(row: Mapping[str, Any]) -> SamePhoto | None:
    bits, cosine = hash_distance(row["hash"], row["other_hash"]), row["cosine"]
    if bits is None or cosine is None:
        return None  # tagged again meanwhile, or by another model
    level = level_of(
        Look(row["hash"], row["taken"], row["text"]),
        Look(row["other_hash"], row["other_taken"], row["other_text"]),
        is_identical=False,
        cosine=cosine,
    )
    if level != "same_photo":
        return None
    return SamePhoto(
        older_id=row["older_id"],
        newer_id=row["newer_id"],
        older_path=row["older_path"],
        newer_path=row["newer_path"],
        cosine=round(cosine, 6),
        hash_distance=bits,
    )
