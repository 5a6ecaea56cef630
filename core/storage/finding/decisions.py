"""What people decided about images that are alike: table `duplicate_decisions`.

A decision is kept by the contents of both images, so that neither a tagging nor a move of a file
changes it; between copies with the same bytes it is kept by the images themselves, and follows the
one that moves (`core.storage.archive.moving`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.storage.archive import curation, image_tags
from core.storage.archive.ownership import visible
from core.transaction import Transaction

#: The lesser and the greater of two contents, or of the ids of two copies.
Key = tuple[bytes, bytes]

_COLUMNS = "one, other, keep, loser, did_exclude, decided_by, decided_at"
_OF = f"""
SELECT {_COLUMNS} FROM duplicate_decisions d
JOIN unnest($1::bytea[], $2::bytea[]) AS k (one, other) USING (one, other)
"""  # noqa: S608 - a constant
_NEWEST = f"""
SELECT {_COLUMNS} FROM duplicate_decisions
WHERE $1::timestamptz IS NULL OR (decided_at, one) < ($1, $2::bytea)
ORDER BY decided_at DESC, one DESC LIMIT $3
"""  # noqa: S608 - a constant
# Of the images with a content the oldest that may be seen; of copies the image itself.
_SUBJECTS = f"""
SELECT DISTINCT ON (k.key) k.key, i.image_id, t.sha256
FROM unnest($1::bytea[]) AS k (key)
JOIN tagged_images t ON CASE WHEN length(k.key) = 32 THEN t.sha256 = k.key
                             ELSE t.image_id = encode(k.key, 'hex')::uuid END
JOIN images i USING (image_id)
WHERE i.status NOT IN ('missing', 'deleted') AND {visible("$2")}
ORDER BY k.key, t.id
"""  # noqa: S608 - constants only
_TAKE_BACK = f"""
DELETE FROM duplicate_decisions WHERE one = $1 AND other = $2 RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant
_DECIDE = f"""
INSERT INTO duplicate_decisions (one, other, keep, loser, did_exclude, decided_by)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant
_IS_EXCLUDED = "SELECT excluded FROM images WHERE image_id = $1"
# Another decision that wants it excluded too keeps it so.
_HAND_OVER = """
UPDATE duplicate_decisions SET did_exclude = true WHERE (one, other) = (
    SELECT one, other FROM duplicate_decisions WHERE loser = $1 ORDER BY decided_at LIMIT 1)
RETURNING true
"""


@dataclass(frozen=True, slots=True)
class AlikeSubject:
    """An image that a decision is about."""

    image_id: UUID
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about two images.

    Attributes:
        keep: the image that stays in answers; None: both.
        loser: the other one.
        did_exclude: this decision excluded it; else somebody had before.
    """

    one: bytes
    other: bytes
    keep: UUID | None
    loser: UUID | None
    did_exclude: bool
    decided_by: str
    decided_at: datetime


def key_of(one: AlikeSubject, other: AlikeSubject) -> Key:
    """Return what a decision about two images is kept by."""
    pair = (one.sha256, other.sha256)
    if one.sha256 == other.sha256:
        pair = (one.image_id.bytes, other.image_id.bytes)
    return min(pair), max(pair)


async def of(connection: Transaction, keys: Iterable[Key]) -> Mapping[Key, Decision]:
    """Return what was decided of these pairs."""
    wanted = list(keys)
    if not wanted:
        return {}
    rows = await connection.fetch(_OF, [one for one, _ in wanted], [other for _, other in wanted])
    found = (Decision(**dict(row)) for row in rows)
    return {(one.one, one.other): one for one in found}


async def newest(
    connection: Transaction, *, before: tuple[datetime, bytes] | None, limit: int
) -> Sequence[Decision]:
    """Return decisions, the newest first, from behind (decided_at, one) on."""
    at, one = before or (None, None)
    rows = await connection.fetch(_NEWEST, at, one, limit)
    return [Decision(**dict(row)) for row in rows]


async def subjects(
    connection: Transaction, keys: Iterable[bytes], *, owner: str | None
) -> Mapping[bytes, AlikeSubject]:
    """Return the images that stand for these contents or ids, those that an owner may see."""
    rows = await connection.fetch(_SUBJECTS, list(set(keys)), owner)
    return {row["key"]: AlikeSubject(row["image_id"], row["sha256"]) for row in rows}


async def decide(
    tx: Transaction, one: AlikeSubject, other: AlikeSubject, *, keep: UUID | None, by: str
) -> Decision:
    """Decide about two images: both stay in answers, or one, and the other is excluded.

    A decision before is taken back first, and its exclusion with it.
    """
    await take_back(tx, one, other, by=by)
    loser, did_exclude = None, False
    if keep is not None:
        loser = other.image_id if keep == one.image_id else one.image_id
        did_exclude = not await tx.fetchval(_IS_EXCLUDED, loser)
        if did_exclude:
            await curation.exclude_for(tx, loser, excluded=True, by=by)
    row = await tx.fetchrow(_DECIDE, *key_of(one, other), keep, loser, did_exclude, by)
    return Decision(**dict(row or {}))


async def take_back(tx: Transaction, one: AlikeSubject, other: AlikeSubject, *, by: str) -> bool:
    """Forget what was decided about two images; return whether anything was.

    The image that the decision excluded is included again, unless another decision is about it too,
    or a person has excluded it since.
    """
    await image_tags.lock(tx, sorted((one.image_id, other.image_id)))
    row = await tx.fetchrow(_TAKE_BACK, *key_of(one, other))
    if row is None:
        return False
    gone = Decision(**dict(row))
    if gone.did_exclude and gone.loser is not None:
        # It may be a copy of the one named here: the decision is about contents.
        await image_tags.lock(tx, [gone.loser])
        if not await tx.fetchval(_HAND_OVER, gone.loser):
            await curation.exclude_for(tx, gone.loser, excluded=False, by=by)
    return True
