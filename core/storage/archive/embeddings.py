"""Results of earlier encodings of the same bytes."""

from collections.abc import Sequence

from core.storage.vectors import from_wire
from core.tags import ImageTags
from core.transaction import Transaction

# Size, date, camera and hash come from any image with the same bytes: they are properties of these.
# Images without a hash or a colour are decoded once more, so that they get one, and a thumbnail.
_KNOWN = """
SELECT DISTINCT ON (t.sha256) t.sha256, t.width, t.height, t.exif_datetime, t.exif_source,
       t.camera, t.perceptual_hash, t.text_lines, t.truncated, i.colour, i.media_type,
       halfvec_send(e.embedding) AS vector
FROM tagged_images t
JOIN images i ON i.image_id = t.image_id AND i.sha256 = t.sha256
JOIN embeddings e ON (e.sha256, e.model, e.preprocessing) = (t.sha256, t.model, t.preprocessing)
WHERE t.sha256 = ANY($1::bytea[]) AND t.model = $2 AND t.preprocessing = $3
  AND i.media_type IS NOT NULL AND t.perceptual_hash IS NOT NULL AND i.colour IS NOT NULL
ORDER BY t.sha256, t.id
"""


async def known(
    connection: Transaction, digests: Sequence[bytes], *, model: str, preprocessing: str
) -> dict[bytes, ImageTags]:
    """Return the results of earlier encodings by SHA-256, without tags."""
    rows = await connection.fetch(_KNOWN, list(digests), model, preprocessing)
    return {
        row["sha256"]: ImageTags(
            tags=(),
            sha256=row["sha256"],
            width=row["width"],
            height=row["height"],
            model=model,
            preprocessing=preprocessing,
            embedding=from_wire(row["vector"]),
            exif_datetime=row["exif_datetime"],
            media_type=row["media_type"],
            camera=row["camera"],
            perceptual_hash=row["perceptual_hash"],
            exif_source=row["exif_source"],
            truncated=row["truncated"],
            colour=row["colour"],
            text_lines=row["text_lines"],
        )
        for row in rows
    }
