"""Who may see an image, and who may change it.

An image that was announced without a key is open to all (`images.open_to_all`): every key that may
read sees it. Every other one is seen by its owners (`image_owners`) alone, and by administrators.
Owners and administrators change it. Whoever sends an image, or has a file tagged, is an owner of it
from then on: nobody else's ownership ends, and nothing closed is opened (docs/decisions/0029).
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from core.transaction import Transaction

#: Audiences of counts (`audiences_of` in the schema), beside owners: of images that are open to
#: all, and of all others.
OPEN = ""
CLOSED = "\tclosed"


def visible(owner: str, image: str = "i") -> str:
    """Return the SQL condition under which somebody may see an image.

    Args:
        owner: the parameter (`$1`) with who asks; NULL: an administrator, who sees all.
        image: how the statement calls the row of `images`.
    """
    return (
        f"({owner}::text IS NULL OR {image}.open_to_all OR EXISTS ("
        f"SELECT FROM image_owners o WHERE o.image_id = {image}.image_id AND o.owner = {owner}))"
    )


_RIGHTS = f"""
SELECT {visible("$2")} AS may_see,
       EXISTS (SELECT FROM image_owners WHERE image_id = $1 AND owner = $2) AS is_owner
FROM images i WHERE image_id = $1 AND status <> 'deleted'
"""  # noqa: S608 - constants only
_JOIN = """
INSERT INTO image_owners (image_id, owner, arrived_at, taken_at)
SELECT image_id, $2, arrived_at, taken_at FROM images WHERE image_id = $1 ON CONFLICT DO NOTHING
"""
# A record may name any owner. It is believed of an image that nobody had before, and of a job of
# that owner, which the HTTP face has written.
_JOIN_ALL = """
INSERT INTO image_owners (image_id, owner, arrived_at, taken_at)
SELECT i.image_id, u.owner, i.arrived_at, i.taken_at
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::boolean[])
     AS u (image_id, owner, job_id, is_new)
JOIN images i USING (image_id)
WHERE u.is_new OR EXISTS (SELECT FROM jobs j WHERE j.job_id = u.job_id AND j.owner = u.owner)
ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""
_REDATE = """
UPDATE image_owners o SET taken_at = i.taken_at FROM images i
WHERE i.image_id = ANY($1::uuid[]) AND o.image_id = i.image_id AND o.taken_at <> i.taken_at
"""
_LEAVE = """
WITH gone AS (DELETE FROM image_owners WHERE image_id = $1 AND owner = $2 RETURNING owner)
INSERT INTO changes (kind, ids, gone_for)
SELECT 'image', ARRAY[$1::uuid], g.owner FROM gone g
RETURNING true
"""
_AUDIENCES = """
SELECT image_id, audiences_of(image_id, open_to_all) AS audiences
FROM images WHERE image_id = ANY($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody who is no administrator is to an image."""

    may_see: bool
    is_owner: bool


@dataclass(frozen=True, slots=True)
class NamedOwner:
    """Whom an arrival names as an owner, and its job."""

    image_id: UUID
    owner: str | None
    job_id: UUID | None


async def rights(connection: Transaction, image_id: UUID, owner: str) -> Rights | None:
    """Return what this owner is to an image; None if it is unknown or deleted."""
    row = await connection.fetchrow(_RIGHTS, image_id, owner)
    return None if row is None else Rights(row["may_see"], row["is_owner"])


async def join(tx: Transaction, image_id: UUID, owner: str) -> None:
    """Make somebody an owner of an image, whose row this transaction has locked."""
    await tx.execute(_JOIN, image_id, owner)


async def join_all(tx: Transaction, claims: Sequence[NamedOwner], new: Container[UUID]) -> None:
    """Make those owners whom arrivals name, where they are believed; the images are locked.

    Args:
        new: images that nobody had before: they were unknown or deleted.
    """
    # The owner of an upload was written when it was accepted: for uploads nothing is asked here.
    asked = [
        claim
        for claim in claims
        if claim.owner is not None and (claim.image_id in new or claim.job_id is not None)
    ]
    if asked:
        await tx.execute(
            _JOIN_ALL,
            [claim.image_id for claim in asked],
            [claim.owner for claim in asked],
            [claim.job_id for claim in asked],
            [claim.image_id in new for claim in asked],
        )


async def leave(tx: Transaction, image_id: UUID, owner: str) -> bool:
    """End somebody's ownership of an image, which is locked; False where there was none."""
    return bool(await tx.fetchval(_LEAVE, image_id, owner))


async def redate(tx: Transaction, image_ids: Sequence[UUID]) -> None:
    """Have the owners' lists follow the dates of images, which are locked."""
    await tx.execute(_REDATE, list(image_ids))


async def audiences(tx: Transaction, image_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[str]]:
    """Return for whom each of these images counts."""
    rows = await tx.fetch(_AUDIENCES, list(image_ids))
    return {row["image_id"]: row["audiences"] for row in rows}


def audiences_for(owner: str | None) -> list[str]:
    """Return the audiences whose counts together are of what an owner sees; None: of everything."""
    return [OPEN, CLOSED] if owner is None else [OPEN, owner]
