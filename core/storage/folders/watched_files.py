"""The ledger of the filesystem bridge: the files that were announced, and their state then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from core.storage.archive import curation, following, image_tags, moving
from core.transaction import Transaction

_COLUMNS = """root, relative_path, size_bytes, mtime_ns, inode, device, sha256, image_id, state,
       attempts, reason"""
_RANGE = f"""
SELECT {_COLUMNS} FROM watched_files
WHERE root = $1 AND relative_path > $2 AND ($3::bytea IS NULL OR relative_path <= $3)
ORDER BY relative_path LIMIT $4
"""  # noqa: S608 - constants only
_MANY = f"""
SELECT {_COLUMNS} FROM watched_files WHERE root = $1 AND relative_path = ANY($2::bytea[])
"""  # noqa: S608 - constants only
_RECORD = """
INSERT INTO watched_files (root, relative_path, size_bytes, mtime_ns, inode, device, sha256,
    image_id, state, attempts, reason)
SELECT * FROM unnest($1::text[], $2::bytea[], $3::int8[], $4::int8[], $5::numeric[], $6::numeric[],
    $7::bytea[], $8::uuid[], $9::text[], $10::int4[], $11::text[])
ORDER BY 1, 2
ON CONFLICT (root, relative_path) DO UPDATE SET
    size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns, inode = excluded.inode,
    device = excluded.device, sha256 = coalesce(excluded.sha256, watched_files.sha256),
    image_id = excluded.image_id, state = excluded.state, attempts = excluded.attempts,
    reason = excluded.reason, seen_at = now()
"""
_MISSING = """
UPDATE watched_files SET state = 'missing', seen_at = now()
WHERE root = $1 AND relative_path = ANY($2::bytea[]) AND state <> 'missing'
RETURNING image_id
"""
# In the order of the key, so that two transactions over the same images cannot deadlock.
_MISSING_IMAGES = """
UPDATE images SET status = 'missing', reason = 'file_gone', updated_at = now()
WHERE image_id IN (
    SELECT image_id FROM images WHERE image_id = ANY($1::uuid[]) AND status <> 'deleted'
    ORDER BY image_id FOR UPDATE)
RETURNING sha256
"""
_ANOTHER_TRY = """
UPDATE watched_files SET state = 'failing', attempts = least(attempts, $2)
WHERE root = $1 AND state = 'quarantined'
"""


class FileState(StrEnum):
    """What the bridge has done about a file."""

    ANNOUNCED = "announced"
    FAILING = "failing"  # could not be read; tried again at every scan
    QUARANTINED = "quarantined"  # failed too often; ignored until it changes or a restart
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class WatchedFile:
    """One file as it was when something was done about it.

    Attributes:
        relative_path: below the root, as the file system has it.
        device: of the directory that it was in.
        sha256: of the bytes that were announced; None if they were never read.
        attempts: failures in a row.
    """

    root: str
    relative_path: bytes
    size_bytes: int
    mtime_ns: int
    inode: int
    device: int
    image_id: UUID
    state: FileState
    sha256: bytes | None = None
    attempts: int = 0
    reason: str | None = None


async def between(
    connection: Transaction, root: str, after: bytes, upto: bytes | None, limit: int
) -> list[WatchedFile]:
    """Return the files behind `after`, up to and with `upto` (None: to the end), in byte order."""
    return [_file(row) for row in await connection.fetch(_RANGE, root, after, upto, limit)]


async def many(
    connection: Transaction, root: str, paths: Sequence[bytes]
) -> dict[bytes, WatchedFile]:
    """Return what is known of these files, by path."""
    rows = await connection.fetch(_MANY, root, list(paths))
    return {row["relative_path"]: _file(row) for row in rows}


async def record(tx: Transaction, files: Sequence[WatchedFile]) -> None:
    """Write what was done about these files."""
    if files:
        await tx.execute(
            _RECORD,
            [file.root for file in files],
            [file.relative_path for file in files],
            [file.size_bytes for file in files],
            [file.mtime_ns for file in files],
            [file.inode for file in files],
            [file.device for file in files],
            [file.sha256 for file in files],
            [file.image_id for file in files],
            [file.state.value for file in files],
            [file.attempts for file in files],
            [file.reason for file in files],
        )


async def mark_missing(tx: Transaction, root: str, paths: Sequence[bytes]) -> int:
    """Mark files as gone: their images become `missing` and no answers; return how many.

    Their tags stay in `tagged_images`; a file that comes back is announced and tagged anew. What
    was decided about one passes to the image of the place where the file is now.
    """
    rows = await tx.fetch(_MISSING, root, list(paths))
    image_ids = sorted(row["image_id"] for row in rows)
    if image_ids:
        gone = await tx.fetch(_MISSING_IMAGES, image_ids)
        await following.follow_images(tx, image_ids)
        await _follow_moved(tx, [row["sha256"] for row in gone if row["sha256"] is not None])
    return len(image_ids)


async def _follow_moved(tx: Transaction, digests: Sequence[bytes]) -> None:
    pairs = await moving.moved(tx, digests) if digests else []
    heirs = sorted(new.image_id for _, new in pairs)
    if heirs:
        await image_tags.lock(tx, heirs)
        await moving.pass_on(tx, pairs)
        await curation.show(tx, heirs)
        await following.follow_images(tx, heirs)


async def give_another_try(tx: Transaction, root: str, attempts: int) -> None:
    """Let quarantined files be tried again; `attempts` is what they count as having had."""
    await tx.execute(_ANOTHER_TRY, root, attempts)


def _file(row: Mapping[str, Any]) -> WatchedFile:
    # Not by their text: a Decimal of 10,560,000 may read 1.056E+7.
    numbers = {name: int(row[name]) for name in ("inode", "device")}
    return WatchedFile(**{**row, **numbers, "state": FileState(row["state"])})
