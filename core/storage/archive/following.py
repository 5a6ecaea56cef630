"""`image_tags` follows where somebody else changed an image: by SQL typed by hand, or one image.

The triggers note such an image in `noted_images`. Upkeep writes its rows anew within seconds, and
whoever changes one image for a client does so at once, in the same transaction. Until then the view
`current_tags` says what the rows will be, so that no answer is wrong.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from uuid import UUID

from core.errors import RecordRefused
from core.storage import labels
from core.storage.archive import answer_rows, image_tags, keeping, ownership, statistics
from core.storage.archive.answer_rows import StoredTags
from core.storage.archive.statistics import Counts
from core.storage.best import combos
from core.storage.stream import changes
from core.transaction import Transaction

PORTION = 500

_NOTED = "SELECT image_id FROM noted_images ORDER BY id LIMIT $1"
# With the images' rows in hand: what is noted of them is committed, and so is read below; and two
# that follow the same image take the row before the notes, so that they come to no deadlock.
_TAKE_NOTES = "DELETE FROM noted_images WHERE image_id = ANY($1::int8[])"
_IMAGE_IDS = "SELECT image_id FROM tagged_images WHERE id = ANY($1::int8[])"
_AUDIENCES = """
SELECT t.id, audiences_of(i.image_id, i.open_to_all) AS audiences
FROM tagged_images t JOIN images i USING (image_id) WHERE t.id = ANY($1::int8[])
"""
_NUMBERS = "SELECT id FROM tagged_images WHERE image_id = ANY($1::uuid[])"
_TAGS = "SELECT image_id, name, score, ts FROM answer_tags WHERE image_id = ANY($1::int8[])"

_DATES = """
UPDATE images i SET taken_at = moment_taken(t.exif_datetime, i.arrived_at)
FROM tagged_images t
WHERE t.id = ANY($1::int8[]) AND i.image_id = t.image_id
  AND i.taken_at <> moment_taken(t.exif_datetime, i.arrived_at)
RETURNING i.image_id, day_of(i.taken_at) AS day, day_of(old.taken_at) AS day_was,
    audiences_of(i.image_id, i.open_to_all) AS audiences
"""


async def follow_noted(tx: Transaction) -> bool:
    """Follow some of the noted images, the oldest note first; return False where none is noted."""
    numbers = sorted({row["image_id"] for row in await tx.fetch(_NOTED, PORTION)})
    if numbers:
        await follow(tx, numbers)
    return bool(numbers)


async def follow_images(tx: Transaction, image_ids: Sequence[UUID]) -> None:
    """Follow these images, which this transaction has changed."""
    rows = await tx.fetch(_NUMBERS, list(image_ids))
    if rows:
        await follow(tx, [row["id"] for row in rows])


async def follow(tx: Transaction, numbers: Sequence[int]) -> None:
    """Write the rows of these images anew and have them offered to the best images again.

    Args:
        numbers: ids of rows in `tagged_images`, which may be gone.
    """
    stored, had = await _rewrite(tx, numbers)
    has = {image.number: {label_id for label_id, _ in image.scores} for image in stored}
    touched = {number: had.get(number, set()) | has.get(number, set()) for number in {*had, *has}}
    await combos.note(tx, {number: sorted(ids) for number, ids in touched.items() if ids})
    await keeping.keep_no_more(tx)


async def rewrite(tx: Transaction, image_ids: Sequence[UUID]) -> Sequence[StoredTags]:
    """Write the rows of these images anew; the caller offers them to the best images itself."""
    numbers = [row["id"] for row in await tx.fetch(_NUMBERS, list(image_ids))]
    if not numbers:
        return ()
    stored, _ = await _rewrite(tx, numbers)
    await keeping.keep_no_more(tx)
    return stored


async def _rewrite(
    tx: Transaction, numbers: Sequence[int]
) -> tuple[Sequence[StoredTags], dict[int, set[int]]]:
    """Write rows anew; return them, and the labels that each image had; the triggers stay off."""
    await keeping.keep(tx)
    image_ids = [row["image_id"] for row in await tx.fetch(_IMAGE_IDS, numbers)]
    await image_tags.lock(tx, image_ids)
    await changes.note(tx, "image", image_ids)
    await tx.execute(_TAKE_NOTES, numbers)
    counts = Counts()
    if redated := await tx.fetch(_DATES, numbers):
        await ownership.redate(tx, [row["image_id"] for row in redated])
        for row in redated:
            counts.move("day", row["day_was"], row["day"], audiences=row["audiences"])
    rows = await tx.fetch(_TAGS, numbers)
    label_ids = await _label_ids(tx, {row["name"] for row in rows})
    ts = {row["image_id"]: row["ts"] for row in rows}
    scores: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        if row["name"] in label_ids:
            scores[row["image_id"]].append((label_ids[row["name"]], row["score"]))
    audiences = {row["id"]: row["audiences"] for row in await tx.fetch(_AUDIENCES, numbers)}
    stored = [
        StoredTags(
            number,
            ts.get(number, 0),
            existed=True,
            scores=tuple(scores[number]),
            audiences=audiences.get(number, ()),
        )
        for number in numbers
    ]
    had = await answer_rows.replace(tx, stored, counts)
    await statistics.append(tx, counts)
    return stored, had


async def _label_ids(tx: Transaction, names: Collection[str]) -> dict[str, int]:
    """Return the labels' ids, added where they are new; those that are too many stay unknown."""
    try:
        return await labels.ensure(tx, names)
    except RecordRefused:
        return await labels.known(tx, names)
