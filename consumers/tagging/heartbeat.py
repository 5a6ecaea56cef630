"""Says which model this process has loaded, and that it still runs, for `/health`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from core.errors import TransientError
from core.storage.scoring import loaded_models
from core.transaction import Database, Transaction

INTERVAL_S = 30.0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Writes until stopped. A database that is away is told later: the loop reports the outage."""

    database: Database
    model: str
    interval_s: float = INTERVAL_S

    async def run(self, stop: asyncio.Event) -> None:
        """Note the model, and from then on that it is in use."""
        note = loaded_models.loaded
        while not stop.is_set():
            if await self._told(note):
                note = loaded_models.seen
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.interval_s)

    async def _told(self, note: Callable[[Transaction, str], Awaitable[None]]) -> bool:
        try:
            async with self.database.connection() as connection:
                await note(connection, self.model)
        except TransientError:
            return False
        return True
