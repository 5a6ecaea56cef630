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
        rows: image_id, status, and the status before (`was`; None: it is new).
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
    await statistics.append(tx, counts)
    new = {row["image_id"] for row in rows if row["was"] in {None, "deleted"}}
    await ownership.join_all(tx, claims, new)
