"""Wait until sessions of PostgreSQL block each other."""

import asyncio
import time

from core.storage.pool import Pool

_BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


async def until_blocked(
    pool: Pool, waiting: asyncio.Task[object], *, limit_s: float = 20.0
) -> None:
    """Return as soon as a session waits for a lock that another one holds.

    Raises:
        AssertionError: `waiting` ended without blocking, or no session blocked in time.
    """
    deadline = time.monotonic() + limit_s
    while not await pool.fetchval(_BLOCKED):
        assert not waiting.done(), f"did not wait: {waiting}"
        assert time.monotonic() < deadline, f"nobody waits for a lock after {limit_s} s"
        await asyncio.sleep(0.01)
