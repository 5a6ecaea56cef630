"""The best image per set of labels: the SQL around `core.relevance.combos`.

There are two advisory locks, both held until the transaction ends. A transaction that offers images
holds `OFFERS` shared; one that repairs holds it exclusively, so that no decision is based on a row
that is about to change. A transaction that changes rows of `combo_best` takes `ROWS` after all row
locks on images and before any of these rows: it never waits for such a row, so no deadlock arises.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.storage.locks import OFFERS, ROWS
from core.transaction import Transaction

#: Pieces of work that a reader checks; with more, it uses exact SQL at once.
MAX_WORK_READ = 200

#: (score, ts, image id), or None for a hole.
Row = tuple[int, int, int] | None

_BEGIN = "SELECT pg_advisory_xact_lock_shared($1)"
_END = "SELECT max_size FROM combo_state"
_LOCK = "SELECT pg_advisory_xact_lock($1)"
_NOTE = """
INSERT INTO combo_work (image_id, label_ids)
SELECT image_id, label_ids::int2[] FROM unnest($1::int8[], $2::text[]) AS u (image_id, label_ids)
"""
_READ = "SELECT key, score, ts, image_id FROM combo_best WHERE key = ANY($1::bytea[])"
_HELD = "SELECT key, score, ts, image_id FROM combo_best WHERE image_id = ANY($1::int8[])"
_HOLES = """
UPDATE combo_best SET image_id = NULL WHERE key = ANY($1::bytea[]) AND image_id = ANY($2::int8[])
"""
# DO UPDATE ... WHERE false would still lock and dirty the row: `accept` has filtered before.
_WRITE = """
INSERT INTO combo_best (key, score, ts, image_id)
SELECT * FROM unnest($1::bytea[], $2::int4[], $3::int4[], $4::int8[])
ON CONFLICT (key) DO UPDATE
SET score = excluded.score, ts = excluded.ts, image_id = excluded.image_id
WHERE combo_best.image_id IS NOT NULL AND (excluded.score, excluded.ts, excluded.image_id)
    > (combo_best.score, combo_best.ts, combo_best.image_id)
"""
_LOWER = "UPDATE combo_state SET max_size = $1 WHERE max_size > $1"

_ROWS_AND_WORK = f"""
SELECT key, score, ts, image_id, NULL::int2[] AS label_ids, NULL::boolean AS ready,
       NULL::int2 AS max_size, NULL::boolean AS noted
FROM combo_best WHERE key = ANY($1::bytea[])
UNION ALL
(SELECT NULL, NULL, NULL, image_id, label_ids, NULL, NULL, NULL FROM combo_work
 WHERE label_ids && $2::int2[] LIMIT {MAX_WORK_READ})
UNION ALL
"""  # noqa: S608 - an integer constant
_NOTED = f"""
(SELECT NULL, NULL, NULL, image_id, ARRAY(
    SELECT x.label_id FROM image_tags x WHERE x.image_id = n.image_id
    UNION
    SELECT l.id FROM tagged_images t CROSS JOIN LATERAL jsonb_array_elements(t.tags) AS e (tag)
    JOIN labels l ON l.folded = label_key(e.tag->>'tag') WHERE t.id = n.image_id), NULL, NULL, NULL
 FROM noted_images n LIMIT {MAX_WORK_READ})
UNION ALL
"""  # noqa: S608 - an integer constant
_STATE = """
SELECT NULL, NULL, NULL, NULL, NULL, ready, max_size, EXISTS (SELECT FROM noted_images)
FROM combo_state
"""
# Each is one statement, so one snapshot: rows, whether they are complete, what is being repaired
# and, in the second, images that somebody else changed: they touch queries with a label that they
# had or have. Only the second tells which: starting that part would cost every lookup some 8 %.
_LOOK_UP = _ROWS_AND_WORK + _STATE
_LOOK_UP_NOTED = _ROWS_AND_WORK + _NOTED + _STATE


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of repair work: an image to offer again, or (None) all images with the set."""

    image_id: int | None
    label_ids: frozenset[int]

    def touches(self, label_ids: frozenset[int]) -> bool:
        """Whether a query for these labels must ask the images until this is done."""
        if self.image_id is None:
            return self.label_ids <= label_ids
        return not self.label_ids.isdisjoint(label_ids)


@dataclass(frozen=True, slots=True)
class View:
    """The data for a query, from one snapshot.

    Attributes:
        rows: the looked-up rows that exist, holes included.
        max_size: queries for more labels must ask the images; 0: all must.
        work: what touches the looked-up labels and is not done.
    """

    rows: Mapping[bytes, Row]
    max_size: int
    work: tuple[Work, ...]

    def knows(self, label_ids: frozenset[int]) -> bool:
        """Whether the rows answer a query for these labels, unless they hold a hole."""
        return len(label_ids) <= self.max_size and not any(
            work.touches(label_ids) for work in self.work
        )


async def begin(tx: Transaction) -> None:
    """Declare that this transaction offers its changes itself; then call `end`, then offer."""
    await tx.execute(_BEGIN, OFFERS)


async def end(tx: Transaction) -> int:
    """Return up to which size sets are kept."""
    return int(await tx.fetchval(_END))


async def note(tx: Transaction, changed: Mapping[int, Sequence[int]]) -> None:
    """Have images offered again by upkeep; until then, queries that they touch ask the images.

    Args:
        changed: by image, the labels that it had or has.
    """
    if changed:
        texts = ["{" + ",".join(map(str, label_ids)) + "}" for label_ids in changed.values()]
        await tx.execute(_NOTE, list(changed), texts)


async def alone(tx: Transaction) -> None:
    """Lock out all other offers until the transaction ends."""
    await tx.execute(_LOCK, OFFERS)


async def lock_rows(tx: Transaction) -> None:
    """Take the right to change rows, until the transaction ends."""
    await tx.execute(_LOCK, ROWS)


async def read(tx: Transaction, keys: Iterable[bytes]) -> dict[bytes, Row]:
    """Return the rows of these keys that exist, holes included."""
    wanted = list(keys)
    return _rows(await tx.fetch(_READ, wanted)) if wanted else {}


async def held_by(tx: Transaction, image_ids: Iterable[int]) -> dict[bytes, Row]:
    """Return the rows that these images hold."""
    wanted = list(image_ids)
    return _rows(await tx.fetch(_HELD, wanted)) if wanted else {}


async def make_holes(tx: Transaction, keys: Sequence[bytes], image_ids: Iterable[int]) -> None:
    """Make holes of these rows where these images hold them. Needs `lock_rows`."""
    await tx.execute(_HOLES, list(keys), list(image_ids))


async def write(tx: Transaction, rows: Sequence[tuple[bytes, tuple[int, int, int]]]) -> None:
    """Write rows that beat what is stored; never over a hole. Needs `lock_rows`."""
    await tx.execute(
        _WRITE,
        [key for key, _ in rows],
        [rank[0] for _, rank in rows],
        [rank[1] for _, rank in rows],
        [rank[2] for _, rank in rows],
    )


async def lower(tx: Transaction, max_size: int) -> None:
    """Keep only sets of at most `max_size` labels from now on. Needs `lock_rows`."""
    await tx.execute(_LOWER, max_size)


async def look_up(connection: Transaction, keys: Sequence[bytes], label_ids: Sequence[int]) -> View:
    """Return what queries for these labels see; `keys` are all that they may need."""
    rows: dict[bytes, Row] = {}
    work: list[Work] = []
    max_size = 0
    found = await connection.fetch(_LOOK_UP, keys, label_ids)
    if any(row["noted"] for row in found):  # all anew: upkeep may have followed meanwhile
        found = await connection.fetch(_LOOK_UP_NOTED, keys, label_ids)
    for row in found:
        if row["key"] is not None:
            rows[row["key"]] = _row(row)
        elif row["label_ids"] is not None:
            work.append(Work(row["image_id"], frozenset(row["label_ids"])))
        else:
            max_size = row["max_size"] if row["ready"] else 0
    return View(rows, 0 if len(work) >= MAX_WORK_READ else max_size, tuple(work))


def _rows(found: Sequence[Mapping[str, int | None]]) -> dict[bytes, Row]:
    return {row["key"]: _row(row) for row in found}  # type: ignore[misc]  # key is bytes


def _row(row: Mapping[str, int | None]) -> Row:
    score, ts, image_id = row["score"], row["ts"], row["image_id"]
    if score is None or ts is None or image_id is None:
        return None
    return score, ts, image_id
