"""Images page by page, the newest arrival first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.storage.archive.images import STATUS_COLUMNS, ImageStatus, status_of
from core.transaction import Transaction

# Keyset paging by index: page 1,000 costs what page 1 does, and a key's few images among many cost
# as much. Images that are open to all are merged with the others: with all of them, or with one
# owner's. The order is by `images.arrived_at`, which `image_owners` repeats.
_WANTED = """
    i.status <> 'deleted'
    AND ($1::uuid IS NULL OR i.job_id = $1)
    AND ($2::text IS NULL OR i.status = $2)
"""
_OPEN = f"""
SELECT i.image_id FROM images i
WHERE i.open_to_all AND {_WANTED}
  AND ($3::timestamptz IS NULL OR (i.arrived_at, i.image_id) < ($3, $4))
ORDER BY i.arrived_at DESC, i.image_id DESC LIMIT $5
"""  # noqa: S608 - constants only
_CLOSED = _OPEN.replace("i.open_to_all", "NOT i.open_to_all")
_OWNED = f"""
SELECT o.image_id FROM image_owners o JOIN images i USING (image_id)
WHERE o.owner = $6 AND NOT i.open_to_all AND {_WANTED}
  AND ($3::timestamptz IS NULL OR (o.arrived_at, o.image_id) < ($3, $4))
ORDER BY o.arrived_at DESC, o.image_id DESC LIMIT $5
"""  # noqa: S608 - constants only


def _page(closed: str) -> str:
    return f"""
SELECT {STATUS_COLUMNS}
FROM images i LEFT JOIN tagged_images t USING (image_id)
WHERE i.image_id IN (({_OPEN}) UNION ALL ({closed}))
ORDER BY i.arrived_at DESC, i.image_id DESC LIMIT $5
"""  # noqa: S608 - constants only


_PAGE, _OWNERS_PAGE = _page(_CLOSED), _page(_OWNED)


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which images; None: all.

    Attributes:
        owner: only what this owner may see.
        before: (arrived_at, image_id) of the last image of the page before.
    """

    owner: str | None = None
    job_id: UUID | None = None
    status: str | None = None
    before: tuple[datetime, UUID] | None = None


async def page(connection: Transaction, wanted: ImageFilter, limit: int) -> Sequence[ImageStatus]:
    """Return at most `limit` images, the newest arrival first."""
    arrived_at, image_id = wanted.before or (None, None)
    place = (wanted.job_id, wanted.status, arrived_at, image_id, limit)
    if wanted.owner is None:
        rows = await connection.fetch(_PAGE, *place)
    else:
        rows = await connection.fetch(_OWNERS_PAGE, *place, wanted.owner)
    return tuple(status_of(dict(row)) for row in rows)
