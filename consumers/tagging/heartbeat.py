"""The heartbeat of a tagging process: it reports its model and its lanes, for `/health`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from core.repeating import every
from core.storage.scoring import loaded_models
from core.transaction import Database

INTERVAL_S = 30.0


@dataclass(slots=True)
class Heartbeat:
    """Writes that this process has loaded a model and is alive, every `interval_s` seconds."""

    database: Database
    model: str
    lanes: Sequence[str]
    interval_s: float = INTERVAL_S
    _is_noted: bool = False

    async def run(self, stop: asyncio.Event) -> None:
        """Write until `stop` is set. An outage is logged by the loop; the next beat follows."""
        await every(self._beat, self.interval_s, stop)

    async def _beat(self) -> None:
        note = loaded_models.seen if self._is_noted else loaded_models.loaded
        async with self.database.connection() as connection:
            await note(connection, self.model, self.lanes)
        self._is_noted = True
