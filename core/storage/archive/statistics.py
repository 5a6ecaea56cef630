"""Counts of the archive: tags, days, hours, cameras, statuses, failures.

Counts come from `totals` and `total_changes`. Whoever changes images appends to the second what it
changed; upkeep folds that into the first. Nothing here reads all images. They are kept for all and
per owner, so that what one key sees is counted as cheaply as everything.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from core.storage.archive.ownership import audiences_for, visible
from core.transaction import Transaction

Kind = Literal["tag", "day", "ratio", "hour", "camera", "status"]

#: Co-occurrence is counted among the newest images; exact for archives up to this size.
NEWEST_IMAGES = 20_000
_FOLD_ROWS = 20_000
_LAST = "\U0010ffff"  # behind every key

_APPEND = """
INSERT INTO total_changes (kind, audience, key, images, amount)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int8[])
"""
_HAS_CHANGES = "SELECT EXISTS (SELECT FROM total_changes)"
# Rows that another process folds are skipped; readers see them before or after, never twice.
_FOLD = """
WITH taken AS (
    DELETE FROM total_changes WHERE id IN (
        SELECT id FROM total_changes ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING kind, audience, key, images, amount
)
INSERT INTO totals (kind, audience, key, images, amount)
SELECT kind, audience, key, sum(images), sum(amount) FROM taken
GROUP BY kind, audience, key ORDER BY kind, audience, key
ON CONFLICT (kind, audience, key) DO UPDATE
SET images = totals.images + excluded.images, amount = totals.amount + excluded.amount
"""
_SUMS = """
SELECT key, sum(images)::int8 AS images, sum(amount)::int8 AS amount FROM (
    SELECT key, images, amount FROM totals
    WHERE kind = $1 AND audience = ANY($2::text[]) AND key >= $3 AND key < $4
    UNION ALL
    SELECT key, images, amount FROM total_changes
    WHERE kind = $1 AND audience = ANY($2::text[]) AND key >= $3 AND key < $4
) AS t GROUP BY key HAVING sum(images) <> 0 ORDER BY key
"""
_STATUSES = """
SELECT audience, key, sum(images)::int8 AS images FROM (
    SELECT audience, key, images FROM totals WHERE kind = 'status' AND audience = ANY($1::text[])
    UNION ALL
    SELECT audience, key, images FROM total_changes
    WHERE kind = 'status' AND audience = ANY($1::text[])
) AS s GROUP BY audience, key HAVING sum(images) <> 0
"""
_ONE = """
SELECT coalesce(sum(images), 0)::int8 FROM (
    SELECT images FROM totals WHERE kind = $1 AND audience = ANY($2::text[]) AND key = $3
    UNION ALL
    SELECT images FROM total_changes WHERE kind = $1 AND audience = ANY($2::text[]) AND key = $3
) AS t
"""
_MONTHS = """
SELECT left(key, 7) AS month, sum(images)::int8 AS images FROM (
    SELECT key, images FROM totals WHERE kind = 'day' AND audience = ANY($1::text[])
    UNION ALL
    SELECT key, images FROM total_changes WHERE kind = 'day' AND audience = ANY($1::text[])
) AS d GROUP BY 1 HAVING sum(images) <> 0 ORDER BY 1 DESC
"""
_CAMERAS = """
SELECT key AS camera, sum(images)::int8 AS images FROM (
    SELECT key, images FROM totals WHERE kind = 'camera' AND audience = ANY($1::text[])
    UNION ALL
    SELECT key, images FROM total_changes WHERE kind = 'camera' AND audience = ANY($1::text[])
) AS c GROUP BY key HAVING sum(images) <> 0 ORDER BY 2 DESC, 1 LIMIT $2
"""
_NAMES = "SELECT id, name FROM labels WHERE id = ANY($1::int2[])"
_PAIRS = f"""
WITH newest AS MATERIALIZED (
    SELECT s.image_id, s.label_id FROM image_tags s
    WHERE s.image_id > coalesce((SELECT max(image_id) FROM image_tags), 0) - $1
      AND ($4::text IS NULL OR EXISTS (
          SELECT FROM tagged_images t JOIN images i USING (image_id)
          WHERE t.id = s.image_id AND {visible("$4")}))
), labelled AS MATERIALIZED (
    SELECT image_id, array_agg(label_id) AS label_ids FROM newest GROUP BY image_id
)
SELECT a AS one, b AS other, count(*) AS images
FROM labelled, unnest(label_ids) AS a, unnest(label_ids) AS b
WHERE a < b AND ($2::int2 IS NULL OR $2 IN (a, b))
GROUP BY a, b ORDER BY 3 DESC, 1, 2 LIMIT $3
"""  # noqa: S608 - constants only
_FAILURES = f"""
SELECT f.reason, count(*) AS images, max(f.last_at) AS last_at
FROM failures f JOIN images i USING (image_id)
WHERE f.last_at >= $1 AND f.last_at < $2 AND {visible("$3")} GROUP BY f.reason ORDER BY 2 DESC, 1
"""  # noqa: S608 - constants only
_LABEL = "SELECT id FROM labels WHERE folded = label_key($1)"


class Counts:
    """What a transaction changed, summed up: `total_changes` gets a row per key."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, str], tuple[int, int]] = {}

    def add(
        self, kind: Kind, key: str, images: int, amount: int = 0, *, audiences: Sequence[str]
    ) -> None:
        """Count images with a key; fewer of them where the number is negative."""
        for audience in audiences:
            had = self._sums.get((kind, audience, key), (0, 0))
            self._sums[kind, audience, key] = (had[0] + images, had[1] + amount)

    def move(
        self, kind: Kind, was: str | None, becomes: str | None, *, audiences: Sequence[str]
    ) -> None:
        """Count one image from one key to another; None: it had none, or has none."""
        if was != becomes:
            if was is not None:
                self.add(kind, was, -1, audiences=audiences)
            if becomes is not None:
                self.add(kind, becomes, 1, audiences=audiences)

    @property
    def rows(self) -> list[tuple[str, str, str, int, int]]:
        """(kind, audience, key, images, amount) of what is not zero."""
        return [(*key, *sums) for key, sums in self._sums.items() if any(sums)]


@dataclass(frozen=True, slots=True)
class TagCount:
    """A tag: how many images carry it, and with which confidence on the average (0..1)."""

    tag: str
    images: int
    mean_confidence: float


@dataclass(frozen=True, slots=True)
class TagPair:
    """Two tags and how many images carry both."""

    tags: tuple[str, str]
    images: int


@dataclass(frozen=True, slots=True)
class FailureCount:
    """A reason, and how many images failed for it."""

    reason: str
    images: int
    last_at: datetime


async def append(tx: Transaction, counts: Counts) -> None:
    """Append what this transaction changed."""
    if rows := counts.rows:
        await tx.execute(_APPEND, *map(list, zip(*rows, strict=True)))


async def has_changes(connection: Transaction) -> bool:
    """Return whether there are changes to fold."""
    return bool(await connection.fetchval(_HAS_CHANGES))


async def fold(connection: Transaction) -> None:
    """Add changes to the totals: 20,000 at a time, so that a transaction stays short."""
    await connection.execute(_FOLD, _FOLD_ROWS)


async def counts(
    connection: Transaction,
    kind: Kind,
    first: str = "",
    end: str = _LAST,
    *,
    owner: str | None = None,
) -> dict[str, int]:
    """Return images per key from `first` to before `end`, in the keys' order.

    Args:
        owner: of what this owner sees, here and below; None: of all.
    """
    rows = await connection.fetch(_SUMS, kind, audiences_for(owner), first, end)
    return {row["key"]: row["images"] for row in rows}


async def statuses(
    connection: Transaction, owners: Collection[str | None]
) -> dict[str | None, dict[str, int]]:
    """Return images per status, by who looks: for all of them one statement.

    Args:
        connection: to PostgreSQL.
        owners: None: one who sees all.
    """
    audiences = {audience for owner in owners for audience in audiences_for(owner)}
    found: dict[str, dict[str, int]] = {}
    for row in await connection.fetch(_STATUSES, sorted(audiences)):
        found.setdefault(row["audience"], {})[row["key"]] = row["images"]
    return {owner: _added(found, audiences_for(owner)) for owner in owners}


def _added(found: Mapping[str, Mapping[str, int]], audiences: Sequence[str]) -> dict[str, int]:
    added: dict[str, int] = {}
    for audience in audiences:
        for key, images in found.get(audience, {}).items():
            added[key] = added.get(key, 0) + images
    return added


async def count(connection: Transaction, kind: Kind, key: str, *, owner: str | None = None) -> int:
    """Return the images with one key."""
    return int(await connection.fetchval(_ONE, kind, audiences_for(owner), key))


async def months(connection: Transaction, *, owner: str | None = None) -> dict[str, int]:
    """Return images per month taken (UTC), the newest first."""
    rows = await connection.fetch(_MONTHS, audiences_for(owner))
    return {row["month"]: row["images"] for row in rows}


async def means(
    connection: Transaction, kind: Kind, *, owner: str | None = None
) -> dict[str, float]:
    """Return the mean amount per key."""
    rows = await connection.fetch(_SUMS, kind, audiences_for(owner), "", _LAST)
    return {row["key"]: row["amount"] / row["images"] for row in rows}


async def tags(connection: Transaction, *, owner: str | None = None) -> list[TagCount]:
    """Return all tags that any image carries, the commonest first."""
    sums = await connection.fetch(_SUMS, "tag", audiences_for(owner), "", _LAST)
    names = await _names(connection, [int(row["key"]) for row in sums])
    found = [
        TagCount(
            tag=names[int(row["key"])],
            images=row["images"],
            mean_confidence=round(row["amount"] / row["images"] / 1_000_000, 6),
        )
        for row in sums
    ]
    return sorted(found, key=lambda tag: (-tag.images, tag.tag))


async def pairs(
    connection: Transaction, limit: int, tag: str | None = None, *, owner: str | None = None
) -> list[TagPair]:
    """Return the commonest pairs of tags among the newest images; those with `tag`, if given."""
    label_id = None
    if tag is not None and (label_id := await connection.fetchval(_LABEL, tag)) is None:
        return []
    rows = await connection.fetch(_PAIRS, NEWEST_IMAGES, label_id, limit, owner)
    names = await _names(connection, [row[side] for row in rows for side in ("one", "other")])
    return [TagPair((names[row["one"]], names[row["other"]]), row["images"]) for row in rows]


async def cameras(
    connection: Transaction, limit: int, *, owner: str | None = None
) -> dict[str, int]:
    """Return images per camera, the commonest cameras first."""
    rows = await connection.fetch(_CAMERAS, audiences_for(owner), limit)
    return {row["camera"]: row["images"] for row in rows}


async def failures(
    connection: Transaction, since: datetime, until: datetime, *, owner: str | None = None
) -> list[FailureCount]:
    """Return the failure ledger by reason, the commonest first."""
    rows = await connection.fetch(_FAILURES, since, until, owner)
    return [FailureCount(row["reason"], row["images"], row["last_at"]) for row in rows]


async def days(
    connection: Transaction, since: date, until: date, *, owner: str | None = None
) -> dict[str, int]:
    """Return images per day taken (UTC), `since` to before `until`."""
    return await counts(connection, "day", since.isoformat(), until.isoformat(), owner=owner)


async def _names(connection: Transaction, label_ids: Sequence[int]) -> dict[int, str]:
    rows = await connection.fetch(_NAMES, sorted(set(label_ids)))
    return {row["id"]: row["name"] for row in rows}
