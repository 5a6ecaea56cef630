"""Images page by page, the newest arrival first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.storage.images import ImageStatus
from core.transaction import Transaction

# Keyset paging by index images_arrived: page 1,000 costs what page 1 does.
_PAGE = """
SELECT i.image_id, i.uri, i.path, i.owner, i.media_type, i.size_bytes, i.sha256, i.status,
       i.reason, i.detail, i.job_id, i.arrived_at, i.updated_at,
       t.tags, t.exif_datetime, t.model, t.width, t.height, t.label_version,
       t.updated_at AS tagged_at, t.sha256 AS tagged_sha256
FROM images i LEFT JOIN tagged_images t USING (image_id)
WHERE i.status <> 'deleted'
  AND ($1::text IS NULL OR i.owner IS NULL OR i.owner = $1)
  AND ($2::uuid IS NULL OR i.job_id = $2)
  AND ($3::text IS NULL OR i.status = $3)
  AND ($4::timestamptz IS NULL OR (i.arrived_at, i.image_id) < ($4, $5))
ORDER BY i.arrived_at DESC, i.image_id DESC LIMIT $6
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which images; None: all.

    Attributes:
        owner: only this owner's, and those of nobody.
        before: (arrived_at, image_id) of the last image of the page before.
    """

    owner: str | None = None
    job_id: UUID | None = None
    status: str | None = None
    before: tuple[datetime, UUID] | None = None


async def page(connection: Transaction, wanted: Filter, limit: int) -> Sequence[ImageStatus]:
    """Give at most `limit` images, the newest arrival first."""
    arrived_at, image_id = wanted.before or (None, None)
    rows = await connection.fetch(
        _PAGE, wanted.owner, wanted.job_id, wanted.status, arrived_at, image_id, limit
    )
    found = []
    for row in rows:
        values = dict(row)
        if isinstance(values["tags"], str):
            values["tags"] = json.loads(values["tags"])
        found.append(ImageStatus(**values))
    return tuple(found)
