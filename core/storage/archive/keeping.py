"""Who keeps `image_tags` and the counts in step: a transaction's own statements, or the triggers.

The triggers are for everybody who does not say `keep`: SQL typed by hand, and writers of one image
(migrations/versions/0001_schema.sql).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from core.storage.archive import ownership, statistics
from core.storage.archive.ownership import CLOSED, NamedOwner
from core.storage.archive.statistics import Counts
from core.storage.stream import changes
from core.transaction import Transaction

#: What `note_arrivals` counts, of a statement that wrote `images`.
COUNTED = """
    images.image_id, images.status, old.status AS was,
    day_of(images.taken_at) AS day, day_of(old.taken_at) AS day_was
"""
_SET = "SELECT set_config('photo_archive.keeps', $1, true)"


async def keep(tx: Transaction) -> None:
    """Switch the triggers off: this transaction keeps `image_tags` and the counts itself."""
    await tx.execute(_SET, "on")


async def keep_no_more(tx: Transaction) -> None:
    """Leave what follows in this transaction to the triggers again."""
    await tx.execute(_SET, "off")


async def note_arrivals(
    tx: Transaction, rows: Sequence[Mapping[str, Any]], claims: Sequence[NamedOwner]
) -> None:
    """Count and note images that this transaction wrote, and give them their owners.

    Args:
        rows: image_id, status, and the status before (`was`; None: it is new); the day it was
            taken (`day`), and what was known of that before (`day_was`).
        claims: whom the arrivals name as owners; the schema's trigger counts for those who join.
    """
    image_ids = [row["image_id"] for row in rows]
    await changes.note(tx, "image", image_ids)
    audiences = await ownership.audiences(tx, image_ids)
    counts = Counts()
    for row in rows:
        was, status, now = row["was"], row["status"], audiences[row["image_id"]]
        if was != status:
            counts.add("status", status, 1, audiences=now)
            if was is not None:
                before = [CLOSED] if was == "deleted" else now  # a tombstone is nobody's
                counts.add("status", was, -1, audiences=before)
        counts.add("day", row["day"], 1, audiences=now)
        if was not in {None, "deleted"}:
            counts.add("day", row["day_was"], -1, audiences=now)
    await statistics.append(tx, counts)
    new = {row["image_id"] for row in rows if row["was"] in {None, "deleted"}}
    await ownership.join_all(tx, claims, new)
