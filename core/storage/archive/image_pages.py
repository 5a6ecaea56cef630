"""Images page by page, the newest arrival first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.storage.archive.images import STATUS_COLUMNS, ImageStatus, status_of
from core.transaction import Transaction

# Keyset paging by index images_arrived: page 1,000 costs what page 1 does.
_PAGE = f"""
SELECT {STATUS_COLUMNS}
FROM images i LEFT JOIN tagged_images t USING (image_id)
WHERE i.status <> 'deleted'
  AND ($1::text IS NULL OR i.owner IS NULL OR i.owner = $1)
  AND ($2::uuid IS NULL OR i.job_id = $2)
  AND ($3::text IS NULL OR i.status = $3)
  AND ($4::timestamptz IS NULL OR (i.arrived_at, i.image_id) < ($4, $5))
ORDER BY i.arrived_at DESC, i.image_id DESC LIMIT $6
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which images; None: all.

    Attributes:
        owner: only this owner's, and those of nobody.
        before: (arrived_at, image_id) of the last image of the page before.
    """

    owner: str | None = None
    job_id: UUID | None = None
    status: str | None = None
    before: tuple[datetime, UUID] | None = None


async def page(connection: Transaction, wanted: ImageFilter, limit: int) -> Sequence[ImageStatus]:
    """Return at most `limit` images, the newest arrival first."""
    arrived_at, image_id = wanted.before or (None, None)
    rows = await connection.fetch(
        _PAGE, wanted.owner, wanted.job_id, wanted.status, arrived_at, image_id, limit
    )
    return tuple(status_of(dict(row)) for row in rows)
