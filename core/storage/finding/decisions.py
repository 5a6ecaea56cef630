"""What people decided about images that are alike: table `duplicate_decisions`.

A decision is kept by the contents of both images, so that neither a tagging nor a move of a file
changes it; between copies with the same bytes it is kept by the images themselves, and follows the
one that moves (`core.storage.archive.moving`).

The same contents may be several owners', each with images of their own. Nobody sees or changes a
decision that excluded somebody else's image; whoever decides where such a one stands already has
that kept by image and content.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.storage.archive import curation, image_tags
from core.storage.archive.ownership import visible
from core.transaction import Transaction

#: The lesser and the greater of two contents, or of the ids of two copies, or of both.
Key = tuple[bytes, bytes]

#: How many decisions there are, and when the newest was made.
State = tuple[int, datetime | None]

_COLUMNS = "one, other, keep, loser, did_exclude, decided_by, decided_at"
_OF = f"""
SELECT {_COLUMNS} FROM duplicate_decisions d
JOIN unnest($1::bytea[], $2::bytea[]) AS k (one, other) USING (one, other)
WHERE NOT EXISTS (SELECT FROM images i WHERE i.image_id = d.loser AND i.status <> 'deleted'
                                         AND NOT {visible("$3")})
"""  # noqa: S608 - constants only
# Copies are kept by their ids, all others by their contents; where another owner's decision stands,
# by both. So the key alone says whether the two are identical.
_IS_OF_COPIES = """(length(d.one) = 16
    OR length(d.one) = 48 AND substr(d.one, 17) = substr(d.other, 17))"""
_STANDS_FOR_SEEN = f"""EXISTS (
    SELECT FROM tagged_images t JOIN images i USING (image_id)
    WHERE {{where}} AND i.status NOT IN ('missing', 'deleted') AND {visible("$4")})"""


def _is_seen(key: str) -> str:
    of_content = _STANDS_FOR_SEEN.format(where=f"t.sha256 = {key}")
    of_image = _STANDS_FOR_SEEN.format(
        where=f"t.image_id = encode(substr({key}, 1, 16), 'hex')::uuid"
        f" AND substr({key}, 17) IN ('', t.sha256)"
    )
    return f"CASE WHEN length({key}) = 32 THEN {of_content} ELSE {of_image} END"


# Page by page of all owners' decisions, whoever has few would ask without end.
_NEWEST = f"""
SELECT {_COLUMNS} FROM duplicate_decisions d
WHERE ($1::timestamptz IS NULL OR (d.decided_at, d.one) < ($1, $2::bytea))
  AND {_IS_OF_COPIES} = $5
  AND ($4::text IS NULL OR {_is_seen("d.one")} AND {_is_seen("d.other")})
ORDER BY d.decided_at DESC, d.one DESC LIMIT $3
"""  # noqa: S608 - constants only
# Of the images with a content the oldest that may be seen; of copies the image itself.
_SUBJECTS = f"""
WITH k AS (SELECT DISTINCT key FROM unnest($1::bytea[]) AS u (key)), found AS (
    SELECT k.key, t.id, t.image_id, t.sha256 FROM k JOIN tagged_images t ON t.sha256 = k.key
    WHERE length(k.key) = 32
    UNION ALL
    SELECT k.key, t.id, t.image_id, t.sha256
    FROM k JOIN tagged_images t ON t.image_id = encode(substr(k.key, 1, 16), 'hex')::uuid
    WHERE length(k.key) <> 32 AND substr(k.key, 17) IN ('', t.sha256)
)
SELECT DISTINCT ON (f.key) f.key, f.image_id, f.sha256 FROM found f JOIN images i USING (image_id)
WHERE i.status NOT IN ('missing', 'deleted') AND {visible("$2")}
ORDER BY f.key, f.id
"""  # noqa: S608 - constants only
_TAKE_BACK = f"""
DELETE FROM duplicate_decisions d
WHERE one = $1 AND other = $2 AND ($3::text IS NULL OR NOT EXISTS (
    SELECT FROM images i WHERE i.image_id = d.loser AND i.status <> 'deleted' AND NOT EXISTS (
        SELECT FROM image_owners o WHERE o.image_id = i.image_id AND o.owner = $3)))
RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant
_DECIDE = f"""
INSERT INTO duplicate_decisions (one, other, keep, loser, did_exclude, decided_by)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant
# Of any change, by whichever process, one of them becomes another.
_STATE = "SELECT count(*), max(decided_at) FROM duplicate_decisions"
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


def keys_of(one: AlikeSubject, other: AlikeSubject) -> tuple[Key, Key]:
    """Return what a decision about two images is kept by where another owner's stands, and else."""
    own = (one.image_id.bytes + one.sha256, other.image_id.bytes + other.sha256)
    usual = (one.sha256, other.sha256)
    if one.sha256 == other.sha256:
        usual = (one.image_id.bytes, other.image_id.bytes)
    return (min(own), max(own)), (min(usual), max(usual))


async def of(
    connection: Transaction, keys: Iterable[Key], *, owner: str | None
) -> Mapping[Key, Decision]:
    """Return what was decided of these pairs, as far as this owner may see it; None: all of it."""
    wanted = list(keys)
    if not wanted:
        return {}
    rows = await connection.fetch(
        _OF, [one for one, _ in wanted], [other for _, other in wanted], owner
    )
    found = (Decision(**dict(row)) for row in rows)
    return {(one.one, one.other): one for one in found}


async def newest(
    connection: Transaction,
    *,
    of_copies: bool,
    owner: str | None,
    before: tuple[datetime, bytes] | None,
    limit: int,
) -> Sequence[Decision]:
    """Return decisions about images that an owner may see, the newest first.

    Args:
        of_copies: of images with the same bytes; else of all others.
        owner: None: an administrator, who sees all.
        before: (decided_at, one) of the last one that was returned.
    """
    at, one = before or (None, None)
    rows = await connection.fetch(_NEWEST, at, one, limit, owner, of_copies)
    return [Decision(**dict(row)) for row in rows]


async def state(connection: Transaction) -> State:
    """Return what is another value once somebody decides, or takes a decision back."""
    row = await connection.fetchrow(_STATE)
    return (0, None) if row is None else (row[0], row[1])


async def subjects(
    connection: Transaction, keys: Iterable[bytes], *, owner: str | None
) -> Mapping[bytes, AlikeSubject]:
    """Return the images that stand for these contents or ids, those that an owner may see."""
    rows = await connection.fetch(_SUBJECTS, list(set(keys)), owner)
    return {row["key"]: AlikeSubject(row["image_id"], row["sha256"]) for row in rows}


async def decide(
    tx: Transaction,
    one: AlikeSubject,
    other: AlikeSubject,
    *,
    keep: UUID | None,
    by: str,
    owner: str | None,
) -> None:
    """Decide about two images: both stay in answers, or one, and the other is excluded.

    A decision before is taken back first, and its exclusion with it.

    Args:
        keep: the image that stays; None: both.
        by: who decides.
        owner: whose images alone may be changed; None: an administrator, who changes all.
    """
    await take_back(tx, one, other, by=by, owner=owner)
    loser, did_exclude = None, False
    if keep is not None:
        loser = other.image_id if keep == one.image_id else one.image_id
        did_exclude = not await tx.fetchval(_IS_EXCLUDED, loser)
        if did_exclude:
            await curation.exclude_for(tx, loser, excluded=True, by=by)
    for key in reversed(keys_of(one, other)):
        if await tx.fetchrow(_DECIDE, *key, keep, loser, did_exclude, by) is not None:
            return


async def take_back(
    tx: Transaction, one: AlikeSubject, other: AlikeSubject, *, by: str, owner: str | None
) -> bool:
    """Forget what was decided about two images; return whether anything was.

    The image that the decision excluded is included again, unless another decision is about it too,
    or a person has excluded it since. Arguments as of `decide`.
    """
    await image_tags.lock(tx, sorted((one.image_id, other.image_id)))
    rows = [await tx.fetchrow(_TAKE_BACK, *key, owner) for key in keys_of(one, other)]
    taken = [Decision(**dict(row)) for row in rows if row is not None]
    for gone in taken:
        if gone.did_exclude and gone.loser is not None:
            # It may be a copy of the one named here: the decision is about contents.
            await image_tags.lock(tx, [gone.loser])
            if not await tx.fetchval(_HAND_OVER, gone.loser):
                await curation.exclude_for(tx, gone.loser, excluded=False, by=by)
    return bool(taken)
