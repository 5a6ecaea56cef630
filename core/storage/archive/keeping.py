"""Who keeps `image_tags` and the counts in step: a transaction's own statements, or the triggers.

The triggers are for everybody who does not say `keep`: SQL typed by hand, and writers of one image
(migrations/versions/0001_schema.sql).
"""

from core.transaction import Transaction

_SET = "SELECT set_config('photo_archive.keeps', $1, true)"


async def keep(tx: Transaction) -> None:
    """Switch the triggers off: this transaction keeps `image_tags` and the counts itself."""
    await tx.execute(_SET, "on")


async def keep_no_more(tx: Transaction) -> None:
    """Leave what follows in this transaction to the triggers again."""
    await tx.execute(_SET, "off")
