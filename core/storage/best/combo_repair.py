"""Repair of `combo_best`: holes, images changed by others, and rebuilding the table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.transaction import Transaction

#: Entries per label that are counted to find the rarest one.
_COUNT_LIMIT = 20_000

# A repair must not make writers wait: if it does not get the lock soon, it tries later.
_HURRY = "SELECT set_config('lock_timeout', $1, true)"
_NEEDED = """
SELECT ready, rebuilt_to,
       EXISTS (SELECT FROM combo_work WHERE image_id IS NOT NULL) AS images,
       EXISTS (SELECT FROM combo_work WHERE image_id IS NULL) AS sets,
       EXISTS (SELECT FROM combo_best WHERE image_id IS NULL) AS holes
FROM combo_state
"""
_MUCH = """
SELECT (SELECT count(*) FROM (SELECT FROM combo_work LIMIT $1 + 1) w) > $1
    OR (SELECT count(*) FROM (SELECT FROM combo_best WHERE image_id IS NULL LIMIT $1 + 1) h) > $1
"""
_FORGET = "UPDATE combo_state SET ready = false, rebuilt_to = 0"
_START_WORK = "DELETE FROM combo_work"
_START_ROWS = "TRUNCATE combo_best"
_START_STATE = "UPDATE combo_state SET ready = false, rebuilt_to = 1, max_size = $1"
_REBUILT = "UPDATE combo_state SET rebuilt_to = $1 WHERE NOT ready"
_READY = "UPDATE combo_state SET ready = true WHERE NOT ready AND rebuilt_to > 0"
_PRUNE = "DELETE FROM combo_best WHERE length(key) > 2 * (SELECT max_size FROM combo_state)"

_CHANGED = """
SELECT id, image_id FROM combo_work WHERE image_id IS NOT NULL ORDER BY id LIMIT $1
"""
_SETS = "SELECT id, label_ids FROM combo_work WHERE image_id IS NULL ORDER BY id LIMIT $1"
_DONE = "DELETE FROM combo_work WHERE id = ANY($1::int8[])"
_OPEN_HOLES = """
WITH hole AS (
    SELECT key FROM combo_best WHERE image_id IS NULL ORDER BY length(key), key LIMIT $1
), gone AS (
    DELETE FROM combo_best USING hole WHERE combo_best.key = hole.key RETURNING hole.key
)
INSERT INTO combo_work (label_ids)
SELECT (SELECT array_agg((get_byte(key, 2 * n) * 256 + get_byte(key, 2 * n + 1))::int2)
        FROM generate_series(0, length(key) / 2 - 1) AS n)
FROM gone
"""

_SCORES = """
SELECT image_id, max(ts) AS ts, array_agg(label_id) AS label_ids, array_agg(score) AS scores
FROM image_tags WHERE image_id = ANY($1::int8[]) GROUP BY image_id
"""
_FROM = """
SELECT image_id, max(ts) AS ts, array_agg(label_id) AS label_ids, array_agg(score) AS scores
FROM image_tags WHERE image_id >= $1 GROUP BY image_id ORDER BY image_id LIMIT $2
"""
_COUNT = "SELECT count(*) FROM (SELECT FROM image_tags WHERE label_id = $1 LIMIT $2) AS listed"
# It reads the list of the rarest label, best first. An image that moves in it meanwhile was tagged
# again, and the transaction that did so has offered it.
_CARRIERS = """
WITH listed AS MATERIALIZED (
    SELECT score, ts, image_id FROM image_tags
    WHERE label_id = $1 AND (score, ts, image_id) < ($2::int8, $3::int8, $4::int8)
    ORDER BY score DESC, ts DESC, image_id DESC LIMIT $5
)
SELECT l.score AS list_score, l.ts, l.image_id,
       CASE WHEN f.carried = cardinality($6::int2[]) AND f.total >= $7 THEN f.label_ids END
           AS label_ids,
       f.scores
FROM listed l CROSS JOIN LATERAL (
    SELECT array_agg(label_id) AS label_ids, array_agg(score) AS scores, sum(score) AS total,
           count(*) FILTER (WHERE label_id = ANY($6::int2[])) AS carried
    FROM image_tags t WHERE t.image_id = l.image_id) f
ORDER BY 1 DESC, 2 DESC, 3 DESC
"""
#: Before the first entry of any list.
TOP = (2**62, 2**62, 2**62)


@dataclass(frozen=True, slots=True)
class Needed:
    """The repairs to do. `rebuilt_to`: images below this id were offered; 0: not begun."""

    ready: bool
    rebuilt_to: int
    images: bool
    sets: bool
    holes: bool

    @property
    def anything(self) -> bool:
        """Whether there is anything to do."""
        return not self.ready or self.images or self.sets or self.holes


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image with its tags: what `core.relevance.ranking.ScoredImage` is made of."""

    image_id: int
    ts: int
    scores: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Carriers:
    """A stretch of a label's list: the images in it that qualify, and where it ended."""

    images: tuple[ListedImage, ...]
    after: tuple[int, int, int] | None


async def needed(connection: Transaction) -> Needed:
    """Tell what there is to do."""
    return Needed(**dict(await connection.fetchrow(_NEEDED)))  # type: ignore[arg-type]


async def hurry(tx: Transaction, lock_timeout_s: float) -> None:
    """Set a short lock timeout for this transaction (then `DatabaseAway`)."""
    await tx.execute(_HURRY, str(round(lock_timeout_s * 1000)))


async def is_too_much(connection: Transaction, most: int) -> bool:
    """Tell whether there are more than `most` holes or pieces of work: a rebuild is cheaper."""
    return bool(await connection.fetchval(_MUCH, most))


async def forget(connection: Transaction) -> None:
    """Mark the table for a rebuild; until that is done queries use exact SQL."""
    await connection.execute(_FORGET)


async def start_rebuild(tx: Transaction, max_size: int) -> None:
    """Empty the table. Needs `combos.alone` and `combos.lock_rows`."""
    await tx.execute(_START_STATE, max_size)
    await tx.execute(_START_WORK)
    await tx.execute(_START_ROWS)


async def rebuilt(tx: Transaction, up_to: int) -> None:
    """Note that images below this id were offered."""
    await tx.execute(_REBUILT, up_to)


async def finish_rebuild(connection: Transaction) -> None:
    """Let queries use the table."""
    await connection.execute(_READY)


async def limit(connection: Transaction) -> int:
    """Return the greatest size of sets that are kept."""
    return int(await connection.fetchval("SELECT max_size FROM combo_state"))


async def prune(tx: Transaction) -> None:
    """Drop sets above the table's limit. Needs `combos.lock_rows`."""
    await tx.execute(_PRUNE)


async def changed_images(tx: Transaction, limit: int) -> list[tuple[int, int]]:
    """Return (work id, image id) of images that somebody else changed, oldest first."""
    return [(row["id"], row["image_id"]) for row in await tx.fetch(_CHANGED, limit)]


async def sets(connection: Transaction, limit: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return (work id, label ids) of sets whose images are to be offered, oldest first."""
    return [(row["id"], tuple(row["label_ids"])) for row in await connection.fetch(_SETS, limit)]


async def done(tx: Transaction, work_ids: Sequence[int]) -> None:
    """Delete work that is done."""
    await tx.execute(_DONE, list(work_ids))


async def open_holes(tx: Transaction, limit: int) -> None:
    """Turn holes into work on their sets. Needs `combos.alone` and `combos.lock_rows`."""
    await tx.execute(_OPEN_HOLES, limit)


async def scores(connection: Transaction, image_ids: Iterable[int]) -> list[ListedImage]:
    """Return the tags of these images; images without tags are absent."""
    return list(map(_listed, await connection.fetch(_SCORES, list(image_ids))))


async def images_from(connection: Transaction, image_id: int, limit: int) -> list[ListedImage]:
    """Return the next images from an id on, by id."""
    return list(map(_listed, await connection.fetch(_FROM, image_id, limit)))


async def rarest(connection: Transaction, label_ids: Iterable[int]) -> int:
    """Return the label with the fewest images; among several popular ones, any."""
    counts = [
        (await connection.fetchval(_COUNT, label_id, _COUNT_LIMIT), label_id)
        for label_id in label_ids
    ]
    return min(counts)[1]


async def carriers(
    connection: Transaction,
    *,
    label_id: int,
    label_ids: Sequence[int],
    after: tuple[int, int, int],
    least_total: int,
    limit: int,
) -> Carriers:
    """Return the images in the next stretch of a label's list that carry a whole set.

    Args:
        label_id: whose list; one of the set's.
        least_total: images whose scores sum up to less are left out.
    """
    rows = await connection.fetch(_CARRIERS, label_id, *after, limit, label_ids, least_total)
    images = tuple(_listed(row) for row in rows if row["label_ids"] is not None)
    if len(rows) < limit:
        return Carriers(images, None)
    last = rows[-1]
    return Carriers(images, (last["list_score"], last["ts"], last["image_id"]))


def _listed(row: dict[str, tuple[int, ...]]) -> ListedImage:
    pairs = zip(row["label_ids"], row["scores"], strict=True)
    return ListedImage(row["image_id"], row["ts"], tuple(pairs))  # type: ignore[arg-type]
