"""Directory jobs: leased by one runner at a time, resumable after any path. Table `jobs`."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from core.transaction import Transaction

_COLUMNS = """job_id, owner, root, directory, options, state, total, announced, skipped, skips,
       position, error, created_at, updated_at, finished_at"""
_CREATE = """
INSERT INTO jobs (job_id, kind, owner, root, directory, options, total, state)
VALUES ($1, 'directory', $2, $3, $4, $5, $6, 'waiting')
ON CONFLICT (job_id) DO NOTHING
"""
# One of these ends when no record of it comes any more: from then on its retention counts. Rows of
# jobs are the last that a batch's transaction locks, and in order.
_COUNT = """
INSERT INTO jobs (job_id, kind, root, directory, state, announced, finished_at)
SELECT job_id, 'records', '', '', 'done', images, now()
FROM unnest($1::uuid[], $2::int8[]) AS u (job_id, images) ORDER BY job_id
ON CONFLICT (job_id) DO UPDATE SET
    announced = jobs.announced + excluded.announced, updated_at = now(), finished_at = now()
WHERE jobs.kind = 'records'
"""
_GET = f"SELECT {_COLUMNS} FROM jobs WHERE job_id = $1"  # noqa: S608 - constants only
_RECENT = f"""
SELECT {_COLUMNS} FROM jobs
WHERE ($1::text IS NULL OR owner = $1)
  AND ($2::timestamptz IS NULL OR (created_at, job_id) < ($2, $3))
ORDER BY created_at DESC, job_id DESC LIMIT $4
"""  # noqa: S608 - constants only
# What people watch: open ones, those that ended a moment ago, and those that are asked for.
_WATCHED = f"""
SELECT {_COLUMNS} FROM jobs
WHERE state IN ('waiting', 'running', 'paused') OR finished_at > now() - make_interval(secs => $1)
   OR job_id = ANY($2::uuid[])
ORDER BY created_at DESC, job_id DESC LIMIT 500
"""  # noqa: S608 - constants only
_CANCEL = """
UPDATE jobs SET state = 'cancelled', lease_until = NULL, token = NULL, updated_at = now(),
    finished_at = now()
WHERE job_id = $1 AND state IN ('waiting', 'running', 'paused') RETURNING true
"""
# The runner keeps its token: what it has announced at this moment it still notes, and then stops.
_PAUSE = """
UPDATE jobs SET state = 'paused', lease_until = NULL, updated_at = now()
WHERE job_id = $1 AND state IN ('waiting', 'running') RETURNING true
"""
_RESUME = """
UPDATE jobs SET state = 'waiting', token = NULL, updated_at = now()
WHERE job_id = $1 AND state = 'paused' RETURNING true
"""
_LEASE = f"""
UPDATE jobs SET state = 'running', token = $1, lease_until = now() + make_interval(secs => $2),
    updated_at = now()
WHERE job_id = (
    SELECT job_id FROM jobs
    WHERE state = 'waiting' OR (state = 'running' AND lease_until < now())
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only
_ADVANCE = """
UPDATE jobs SET position = $3, announced = announced + $4, skipped = skipped + $5,
    skips = (SELECT coalesce(jsonb_object_agg(reason, number), '{}') FROM (
        SELECT reason, sum(number::int8) AS number
        FROM (SELECT * FROM jsonb_each_text(skips) UNION ALL SELECT * FROM jsonb_each_text($6))
             AS both_counts (reason, number)
        GROUP BY reason) AS summed),
    lease_until = CASE WHEN state = 'running' THEN now() + make_interval(secs => $7) END,
    updated_at = now()
WHERE job_id = $1 AND token = $2 AND state IN ('running', 'paused') RETURNING state = 'running'
"""
_EXTEND = """
UPDATE jobs SET lease_until = now() + make_interval(secs => $3)
WHERE job_id = $1 AND token = $2 AND state = 'running' RETURNING true
"""
_TOTAL = "UPDATE jobs SET total = $2, updated_at = now() WHERE job_id = $1"
_FINISH = """
UPDATE jobs SET state = $3, error = $4, lease_until = NULL, token = NULL, updated_at = now(),
    total = CASE WHEN $3 = 'done' THEN announced ELSE total END, finished_at = now()
WHERE job_id = $1 AND token = $2 AND state = 'running' RETURNING true
"""
_RELEASE = """
UPDATE jobs SET state = 'waiting', lease_until = NULL, token = NULL, updated_at = now()
WHERE job_id = $1 AND token = $2 AND state = 'running'
"""
_FAILED_IMAGES = """
SELECT path, coalesce(reason, '') AS reason, coalesce(detail, '') AS detail FROM images
WHERE job_id = $1 AND status IN ('failed', 'missing') ORDER BY reason, path LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class DirectoryOptions:
    """How the photos of a directory are to be tagged, and which of them.

    Attributes:
        labels: own labels; None: the instance's.
        top_k: tags to keep; None: the instance's setting.
        extensions: as the caller wrote them (`.jpg`); None: all that are supported.
    """

    labels: tuple[str, ...] | None = None
    top_k: int | None = None
    extensions: tuple[str, ...] | None = None

    def to_json(self) -> str:
        """What column `options` holds."""
        wishes = {"labels": self.labels, "top_k": self.top_k, "extensions": self.extensions}
        return json.dumps({name: wish for name, wish in wishes.items() if wish is not None})

    @classmethod
    def from_json(cls, text: str) -> "DirectoryOptions":
        """The options in a row."""
        read = json.loads(text)
        labels, extensions = read.get("labels"), read.get("extensions")
        return cls(
            labels=None if labels is None else tuple(labels),
            top_k=read.get("top_k"),
            extensions=None if extensions is None else tuple(extensions),
        )


@dataclass(frozen=True, slots=True)
class DirectoryJob:
    """A directory whose photos are to be announced.

    Attributes:
        root: name of the allowed root.
        directory: below the root, as `core.blobs.naming` writes names; empty for the root.
        state: waiting, running, paused, done, failed or cancelled.
        total: number of photos; None until counted.
        announced: number of photos that Kafka has acknowledged.
        skips: number of skipped files, by reason; `skipped` is their sum.
        position: path (bytes, below the root) up to which all are announced.
    """

    job_id: UUID
    owner: str | None
    root: str
    directory: str
    options: DirectoryOptions
    state: str
    total: int | None
    announced: int
    skipped: int
    position: bytes
    error: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    skips: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """The progress of a job since the last step."""

    position: bytes
    announced: int
    skips: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class JobFailure:
    """An image of a job that could not be tagged, and why."""

    path: str
    reason: str
    detail: str


async def create(  # noqa: PLR0913 - keyword-only: the columns of one row
    tx: Transaction,
    *,
    job_id: UUID,
    root: str,
    directory: str,
    options: DirectoryOptions,
    owner: str | None = None,
    total: int | None = None,
) -> None:
    """Write a job for the next free runner; does nothing where it is there already."""
    await tx.execute(_CREATE, job_id, owner, root, directory, options.to_json(), total)


async def get(connection: Transaction, job_id: UUID) -> DirectoryJob | None:
    """Return a job, or None."""
    row = await connection.fetchrow(_GET, job_id)
    return None if row is None else _job(row)


async def recent(
    connection: Transaction,
    *,
    owner: str | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 50,
) -> list[DirectoryJob]:
    """Return jobs, newest first; `before` is (created_at, job_id) of the last one seen."""
    at, job_id = before or (None, None)
    return [_job(row) for row in await connection.fetch(_RECENT, owner, at, job_id, limit)]


async def watched(
    connection: Transaction, ended_within_s: float, job_ids: Collection[UUID] = ()
) -> list[DirectoryJob]:
    """Return open jobs, those that ended within so many seconds, and these; the newest first."""
    rows = await connection.fetch(_WATCHED, ended_within_s, list(job_ids))
    return [_job(row) for row in rows]


async def count_records(tx: Transaction, images: Mapping[UUID, int]) -> None:
    """Count images that direct producers announced in jobs of their own; a directory's stays so.

    Args:
        tx: the transaction that has written what became of them.
        images: how many more of each job.
    """
    job_ids = sorted(images)
    await tx.execute(_COUNT, job_ids, [images[job_id] for job_id in job_ids])


async def cancel(tx: Transaction, job_id: UUID) -> bool:
    """End a job that waits or runs; its runner stops at its next step. False if it had ended."""
    return bool(await tx.fetchval(_CANCEL, job_id))


async def pause(tx: Transaction, job_id: UUID) -> bool:
    """Hold a job that waits or runs; its runner stops behind the photos that it is announcing.

    False if it was neither. What is announced is still tagged.
    """
    return bool(await tx.fetchval(_PAUSE, job_id))


async def resume(tx: Transaction, job_id: UUID) -> bool:
    """Let a held job go on where it was; False if it was not held."""
    return bool(await tx.fetchval(_RESUME, job_id))


async def lease(connection: Transaction, token: UUID, lease_s: float) -> DirectoryJob | None:
    """Take the oldest job that waits or whose runner's lease ran out; None where there is none."""
    row = await connection.fetchrow(_LEASE, token, lease_s)
    return None if row is None else _job(row)


async def advance(
    connection: Transaction, job_id: UUID, token: UUID, step: Step, lease_s: float
) -> bool:
    """Note progress and extend the lease; False where the job is no longer this runner's."""
    skipped = sum(step.skips.values())
    return bool(
        await connection.fetchval(
            _ADVANCE,
            job_id,
            token,
            step.position,
            step.announced,
            skipped,
            json.dumps(dict(step.skips)),
            lease_s,
        )
    )


async def extend(connection: Transaction, job_id: UUID, token: UUID, lease_s: float) -> bool:
    """Extend the lease alone; False where the job is no longer this runner's."""
    return bool(await connection.fetchval(_EXTEND, job_id, token, lease_s))


async def set_total(connection: Transaction, job_id: UUID, total: int) -> None:
    """Note how many photos the directory has."""
    await connection.execute(_TOTAL, job_id, total)


async def finish(
    connection: Transaction, job_id: UUID, token: UUID, *, error: str | None = None
) -> bool:
    """End the job, as done or as failed with an error; False where it is not this runner's."""
    state = "done" if error is None else "failed"
    return bool(await connection.fetchval(_FINISH, job_id, token, state, error))


async def release(connection: Transaction, job_id: UUID, token: UUID) -> None:
    """Release the job, so that the next runner need not wait for the end of the lease."""
    await connection.execute(_RELEASE, job_id, token)


async def failed_images(
    connection: Transaction, job_id: UUID, limit: int = 1000
) -> list[JobFailure]:
    """Return the images of a job (or of a command's run) that could not be tagged."""
    rows = await connection.fetch(_FAILED_IMAGES, job_id, limit)
    return [JobFailure(row["path"], row["reason"], row["detail"]) for row in rows]


def _job(row: Any) -> DirectoryJob:
    values = dict(row)
    values["options"] = DirectoryOptions.from_json(values["options"])
    values["skips"] = json.loads(values["skips"])
    return DirectoryJob(**values)
