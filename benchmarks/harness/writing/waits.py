"""What sessions of PostgreSQL wait for, by looking at them every few milliseconds."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

import asyncpg

#: Between two looks, on average; by chance half to one and a half of it, in step with nobody.
EVERY_S = 0.005
_LOOK = """
SELECT state, wait_event_type AS kind, wait_event AS event FROM pg_stat_activity
WHERE datname = current_database() AND application_name = $1 AND backend_type = 'client backend'
"""
#: Of all that a batch does only the best images take an advisory lock in its transaction: labels
#: are known beforehand, and nobody repairs (`core/storage/locks.py`).
_BEST_IMAGES = ("Lock", "advisory")


class Doing(StrEnum):
    """What a session does at a moment, while its transaction is open."""

    BEST_IMAGES = "best-images lock"
    OTHER_LOCKS = "other locks"
    WAL_AND_IO = "WAL and disk"
    CLIENT = "client"
    RUNNING = "running"


def doing(state: str | None, kind: str | None, event: str | None) -> Doing | None:
    """Return what a session does by its row of pg_stat_activity; None: it is in no transaction.

    Running includes waiting for a processor, which PostgreSQL does not tell.
    """
    if state is None or state.startswith("idle") or state == "disabled":
        return Doing.CLIENT if state == "idle in transaction" else None
    if (kind, event) == _BEST_IMAGES:
        return Doing.BEST_IMAGES
    if kind is None:
        return Doing.RUNNING
    if kind == "Client":
        return Doing.CLIENT
    if kind == "IO" or (kind == "LWLock" and (event or "").startswith("WAL")):
        return Doing.WAL_AND_IO
    return Doing.OTHER_LOCKS


@dataclass(slots=True)
class WaitSampler:
    """Counts what the sessions of one application do.

    Attributes:
        looks: how often it looked.
        seen: sessions in a transaction, by what they did.
        events: the same by PostgreSQL's own words, `type/event`.
    """

    url: str
    application: str
    looks: int = 0
    seen: Counter[Doing] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop` is set."""
        connection = await asyncpg.connect(self.url, timeout=60)
        try:
            look = await connection.prepare(_LOOK)
            while not stop.is_set():
                for row in await look.fetch(self.application):
                    self._note(row["state"], row["kind"], row["event"])
                self.looks += 1
                await asyncio.sleep(EVERY_S * random.uniform(0.5, 1.5))
        finally:
            await connection.close()

    def _note(self, state: str | None, kind: str | None, event: str | None) -> None:
        found = doing(state, kind, event)
        if found is not None:
            self.seen[found] += 1
            self.events["running" if kind is None else f"{kind}/{event}"] += 1

    def shares(self) -> dict[Doing, float]:
        """Return the shares, 0..1, of the batches' time by what was done; nan if none was seen."""
        every = sum(self.seen.values())
        return {one: self.seen[one] / every if every else float("nan") for one in Doing}
