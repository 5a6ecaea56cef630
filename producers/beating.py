"""The heartbeats of the write side's processes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.storage.pool import Pool
from core.storage.stream import heartbeats
from core.telemetry.heart import Heart
from core.telemetry.vitals import Signs, Vitals


@asynccontextmanager
async def beating(pool: Pool, role: str, name: str) -> AsyncIterator[Vitals]:
    """Yield the signs of life of this process, which are written every few seconds.

    Args:
        pool: of PostgreSQL.
        role: of the process.
        name: tells it from others of its role on this host, and is the same after a restart.
    """
    signs, stop = Signs(), asyncio.Event()
    vitals = signs.part(role)
    heart = Heart(pool, heartbeats, signs, f"{role}-{socket.gethostname()}-{name}")
    async with asyncio.TaskGroup() as group:
        beating_on = group.create_task(heart.run(stop))
        try:
            yield vitals
        finally:
            stop.set()
            await asyncio.wait({beating_on})
