"""A photo that moved is another image with the same bytes; what people decided goes with it.

Images of files are known by their path. When the file of one is gone (`missing`) and another image
with its bytes came after the decisions about it, the photo has moved: tags set by hand, exclusion
and owners pass to the new image. Either may be seen first: the new file, or that the old one is
gone. An image moves to one place (`images.moved_to`), so that of two copies, one of them excluded,
not both are excluded in their new folder.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.storage.archive import keeping
from core.storage.deciding.decisions import COLUMNS
from core.transaction import Transaction

#: What an image has to pass on. A decision about it and a copy with the same bytes is kept by ids.
_LEAVES = """({0}.decided_at IS NOT NULL OR NOT {0}.open_to_all OR EXISTS (
    SELECT FROM duplicate_decisions d
    WHERE d.one = uuid_send({0}.image_id) OR d.other = uuid_send({0}.image_id)))"""
# Held until the transaction ends: of two copies that arrive at once, one gets what is left.
_HOLD_MISSING = f"""
SELECT FROM images i
WHERE sha256 = ANY($1::bytea[]) AND status = 'missing' AND moved_to IS NULL
  AND {_LEAVES.format("i")}
ORDER BY image_id FOR NO KEY UPDATE
"""
# Of files alone: only files are ever missing. Both parts go by index images_sha256.
_SAME_BYTES = f"""
SELECT i.image_id, i.path, i.sha256, i.arrived_at, i.decided_at,
       i.status = 'missing' AS is_missing,
       i.status = 'missing' AND i.moved_to IS NULL AND {_LEAVES.format("i")} AS leaves_something
FROM images i
WHERE i.uri LIKE 'file:%' AND i.status IN ('tagged', 'missing') AND i.sha256 IN (
    SELECT m.sha256 FROM images m
    WHERE m.sha256 = ANY($1::bytea[]) AND m.status = 'missing' AND m.moved_to IS NULL
      AND {_LEAVES.format("m")})
ORDER BY i.image_id
"""  # noqa: S608 - a constant
_GIVE = """
UPDATE images n SET hand_tags = o.hand_tags, excluded = o.excluded,
                    rejected_tags = o.rejected_tags, added_tags = o.added_tags,
                    decided_by = o.decided_by, decided_at = o.decided_at, updated_at = now()
FROM images o
WHERE n.image_id = $2 AND o.image_id = $1 AND o.decided_at IS NOT NULL
"""
_GIVE_OWNERS = """
INSERT INTO image_owners (image_id, owner, arrived_at, taken_at)
SELECT n.image_id, o.owner, n.arrived_at, n.taken_at
FROM image_owners o JOIN images n ON n.image_id = $2
WHERE o.image_id = $1 ON CONFLICT DO NOTHING
"""
# Nothing opens what is somebody's, not even a photo that was open to all where it was before.
_CLOSE = """
UPDATE images n SET open_to_all = false
FROM images o
WHERE n.image_id = $2 AND o.image_id = $1 AND n.open_to_all AND NOT o.open_to_all
"""
# Decisions about copies name the images. Of what was decided of the new one already that counts.
_GIVE_COPIES = """
WITH gone AS (
    DELETE FROM duplicate_decisions WHERE one = uuid_send($1::uuid) OR other = uuid_send($1::uuid)
    RETURNING *, CASE WHEN one = uuid_send($1::uuid) THEN other ELSE one END AS copy
)
INSERT INTO duplicate_decisions (one, other, keep, loser, did_exclude, decided_by, decided_at)
SELECT least(copy, uuid_send($2::uuid)), greatest(copy, uuid_send($2::uuid)), keep, loser,
       did_exclude, decided_by, decided_at
FROM gone WHERE copy <> uuid_send($2::uuid)
ON CONFLICT DO NOTHING
"""
_GIVE_PLACES = """
UPDATE duplicate_decisions SET keep = CASE WHEN keep = $1 THEN $2 ELSE keep END,
                               loser = CASE WHEN loser = $1 THEN $2 ELSE loser END
WHERE keep = $1::uuid OR loser = $1::uuid
"""
# Changes to many that are undone are undone where the photo is now.
_GIVE_CHANGES = """
UPDATE image_change_rows r SET image_id = n.image_id, arrived_at = n.arrived_at FROM images n
WHERE r.image_id = $1 AND n.image_id = $2 AND NOT EXISTS (
    SELECT FROM image_change_rows x WHERE x.change_id = r.change_id AND x.image_id = $2)
"""
_DECIDED = f"SELECT image_id, {COLUMNS} FROM images WHERE image_id = ANY($1::uuid[])"  # noqa: S608
_MOVED = "UPDATE images SET moved_to = $2 WHERE image_id = $1"
_PASS_ON = (
    _CLOSE, _GIVE_OWNERS, _GIVE, _GIVE_CHANGES, _GIVE_COPIES, _GIVE_PLACES, _MOVED
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Copy:
    """One of the images with the same bytes.

    Attributes:
        decided_at: when people decided about it last; None: they never did.
        leaves_something: its file is gone, and there are decisions or owners to pass on.
    """

    image_id: UUID
    path: str
    sha256: bytes
    is_missing: bool
    arrived_at: datetime
    decided_at: datetime | None
    leaves_something: bool


def moves(copies: Sequence[Copy], arrived: Sequence[UUID]) -> list[tuple[Copy, Copy]]:
    """Return which image moved where: each one once, and to one place.

    Args:
        copies: all images with some bytes, of one content or of several.
        arrived: those that arrived just now; the others did at their `arrived_at`.
    """
    found: list[tuple[Copy, Copy]] = []
    for old, new in sorted(_possible(copies, arrived), key=lambda pair: _apart(*pair)):
        if not any(old is left or new is come for left, come in found):
            found.append((old, new))
    return found


def _possible(copies: Sequence[Copy], arrived: Sequence[UUID]) -> Iterator[tuple[Copy, Copy]]:
    for old in (copy for copy in copies if copy.leaves_something):
        known = old.decided_at or old.arrived_at
        alike = [copy for copy in copies if copy.sha256 == old.sha256 and copy is not old]
        for new in alike:
            # One that was there too, with a path more alike, is where the new one comes from.
            is_others = any(
                copy.arrived_at <= known and _apart(copy, new) < _apart(old, new)
                for copy in alike
                if copy is not new
            )
            if (
                not new.is_missing
                and not is_others
                and (_is_later(new, old, is_arriving=new.image_id in arrived))
            ):
                yield old, new


def _is_later(new: Copy, old: Copy, *, is_arriving: bool) -> bool:
    """Tell whether a copy came after the decisions about another, and has none that are newer."""
    if old.decided_at is None:
        return is_arriving or new.arrived_at > old.arrived_at
    if new.decided_at is not None and new.decided_at >= old.decided_at:
        return False
    return is_arriving or new.arrived_at > old.decided_at


def _apart(one: Copy, other: Copy) -> int:
    """Return how many parts of two paths are left without those that they begin and end with."""
    mine, theirs = one.path.split("/"), other.path.split("/")
    same = _same_start(mine, theirs)
    mine, theirs = mine[same:], theirs[same:]
    return len(mine) + len(theirs) - 2 * _same_start(mine[::-1], theirs[::-1])


def _same_start(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


async def moved(
    tx: Transaction, digests: Sequence[bytes], arrived: Sequence[UUID] = ()
) -> list[tuple[Copy, Copy]]:
    """Return which images with these bytes have moved, and where; they leave something.

    Args:
        arrived: images that arrive in this transaction, new or after they were missing.
    """
    await tx.execute(_HOLD_MISSING, list(digests))
    rows = await tx.fetch(_SAME_BYTES, list(digests))
    return moves([Copy(**row) for row in rows], arrived)


async def pass_on(tx: Transaction, pairs: Sequence[tuple[Copy, Copy]]) -> None:
    """Pass on decisions and owners; the triggers count. What tags are shown is the caller's."""
    for old, new in pairs:
        for statement in _PASS_ON:
            await tx.execute(statement, old.image_id, new.image_id)


async def inherit(
    tx: Transaction, digests: Sequence[bytes], arriving: Sequence[UUID]
) -> dict[UUID, Mapping[str, Any]]:
    """Pass on what was decided about missing files to images that arrive with their bytes.

    The caller keeps the counts (`keeping.keep`), and writes the tags.

    Returns:
        `decisions.COLUMNS` of the images that got something.
    """
    pairs = await moved(tx, digests, arriving) if digests else []
    if not pairs:
        return {}
    await keeping.keep_no_more(tx)
    await pass_on(tx, pairs)
    await keeping.keep(tx)
    rows = await tx.fetch(_DECIDED, [new.image_id for _, new in pairs])
    return {row["image_id"]: row for row in rows}
