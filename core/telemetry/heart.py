"""The heart of a process: every five seconds it writes what its parts say into `heartbeats`."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from core.errors import DatabaseAway, RecordRefused, TransientError
from core.repeating import every
from core.telemetry.vitals import Beat, Signs
from core.transaction import Database, Transaction

log = structlog.get_logger(__name__)

INTERVAL_S = 5.0
BEAT_S = 4.0  # later than that nobody needs it, and a stop would wait for it
STOP_S = 2.0  # the last word of a process that stops; without it the row falls silent


class HeartbeatTable(Protocol):
    """Where beats are written: `core.storage.stream.heartbeats`."""

    async def beat(self, connection: Transaction, instance: str, beats: Sequence[Beat]) -> None:
        """Write beats; `instance` is that of parts without one of their own."""
        ...

    async def stop(self, connection: Transaction, instance: str, beats: Sequence[Beat]) -> None:
        """Note that these parts have stopped as asked."""
        ...


@dataclass(frozen=True, slots=True)
class Heart:
    """Writes the beats of one process: one statement per interval.

    Attributes:
        instance: of the process, for parts that have no name of their own.
        beat_s: how long one may take.
    """

    database: Database
    table: HeartbeatTable
    signs: Signs
    instance: str
    interval_s: float = INTERVAL_S
    beat_s: float = BEAT_S

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop` is set, then say that the process stops.

        While the database is away a beat is left out: the next one tells all that matters. One that
        PostgreSQL refuses is left out too: nothing of the process's work depends on it.
        """
        await every(self._beat, self.interval_s, stop, postponed=_postponed)
        with suppress(TransientError, RecordRefused, TimeoutError):
            async with asyncio.timeout(STOP_S), self.database.connection() as connection:
                await self.table.stop(connection, self.instance, self.signs.beats())

    async def _beat(self) -> None:
        self.signs.turned()
        if beats := self.signs.beats():
            try:
                async with asyncio.timeout(self.beat_s), self.database.connection() as connection:
                    await self.table.beat(connection, self.instance, beats)
            except TimeoutError as error:
                raise DatabaseAway(f"no heartbeat within {self.beat_s:g} s") from error
            except RecordRefused as error:
                log.exception("heartbeat_refused", error=str(error))
        self.signs.turned()


def _postponed(error: TransientError) -> None:
    log.debug("heartbeat_postponed", error=str(error))
