"""The default labels, put in place where none were ever defined."""

from core.relevance.defaults import DEFAULT_LABELS
from core.settings import DatabaseSettings, load
from core.storage import labels
from core.storage.pool import open_pool


async def define() -> None:
    """Define the 14 default labels, unless the instance has labels already.

    Raises:
        DatabaseAway: PostgreSQL cannot be reached.
    """
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        await labels.define_if_absent(tx, DEFAULT_LABELS)
