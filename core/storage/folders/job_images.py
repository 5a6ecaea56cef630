"""How the images of a directory job fare: how fast they are tagged, and what failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.transaction import Transaction

MAX_COUNTED = 100_000  # failures of a job by reason, 0.1 s
# Of the last minute, or since the job began: by index `images_job`.
_RATES = """
SELECT j.job_id, extract(epoch FROM now() - since)::float8 AS seconds,
       (SELECT count(*) FROM images i WHERE i.job_id = j.job_id AND i.status = 'tagged'
                                        AND i.updated_at > since)
     + (SELECT count(*) FROM images i WHERE i.job_id = j.job_id AND i.status = 'failed'
                                        AND i.updated_at > since) AS images
FROM jobs j, LATERAL (SELECT greatest(j.created_at, now() - interval '1 minute') AS since) s
WHERE job_id = ANY($1::uuid[])
"""
_FAILURES = """
SELECT image_id, path AS image_path, coalesce(reason, '') AS reason,
       coalesce(detail, '') AS detail, updated_at AS at
FROM images WHERE job_id = $1 AND status = 'failed'
  AND ($2::timestamptz IS NULL OR (updated_at, image_id) < ($2, $3))
ORDER BY updated_at DESC, image_id DESC LIMIT $4
"""
_REASONS = """
SELECT coalesce(reason, '') AS reason, count(*) FROM (
    SELECT reason FROM images WHERE job_id = $1 AND status = 'failed' LIMIT $2) f
GROUP BY 1 ORDER BY 2 DESC, 1
"""


@dataclass(frozen=True, slots=True)
class FailedJobImage:
    """An image of a job that could not be tagged, with its id and time."""

    image_id: UUID
    image_path: str
    reason: str
    detail: str
    at: datetime


async def rates_per_s(connection: Transaction, job_ids: Sequence[UUID]) -> dict[UUID, float]:
    """Return how many of each job's images were tagged, or failed, per second of a minute."""
    rows = await connection.fetch(_RATES, list(job_ids))
    return {row["job_id"]: row["images"] / row["seconds"] for row in rows if row["seconds"] > 0}


async def failures(
    connection: Transaction, job_id: UUID, *, before: tuple[datetime, UUID] | None, limit: int
) -> list[FailedJobImage]:
    """Return a job's images that could not be tagged, the last first.

    Args:
        before: (time, image_id) of the last one of the page before.
    """
    at, image_id = before or (None, None)
    rows = await connection.fetch(_FAILURES, job_id, at, image_id, limit)
    return [FailedJobImage(**dict(row)) for row in rows]


async def failure_reasons(connection: Transaction, job_id: UUID) -> dict[str, int]:
    """Return why images of a job failed, the most frequent reason first; of 100,000 of them."""
    rows = await connection.fetch(_REASONS, job_id, MAX_COUNTED)
    return {row["reason"]: row["count"] for row in rows}
