"""The filesystem bridge: it relies on ledger and scans; the watcher's events are only hints.

Three loops run side by side: full scans of the directory now and then, a look at each path that
the watcher named, and the settling of files that stopped changing or are gone. This module decides
when each step is taken; `comparing` takes it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict

import structlog

from core.blobs.naming import RootedPath
from core.errors import TransientError
from core.storage.folders import watched_files
from producers.folders.comparing import Comparison
from producers.folders.hints import HintBuffer, Hints
from producers.folders.intake import FileIntake
from producers.folders.settling import Clock, Pace

log = structlog.get_logger(__name__)

OUTAGE_PAUSE_S = 2.0


class Bridge:
    """Watches one directory under a root.

    Args:
        place: the directory.
        intake: shared by all bridges of the process.
        moved: is called whenever a step was taken.
    """

    def __init__(
        self,
        place: RootedPath,
        intake: FileIntake,
        *,
        clock: Clock | None = None,
        moved: Callable[[], object] = lambda: None,
    ) -> None:
        self._moved = moved
        self._place = place
        self._intake = intake
        self._pace: Pace = intake.pace
        self._clock = clock or Clock()
        self._buffer = HintBuffer(self._pace.max_waiting)
        self._comparison = Comparison(place, intake, self._clock, self._buffer.scan_wanted)
        self._scans_done = 0

    @property
    def scans_done(self) -> int:
        """How many full scans have ended."""
        return self._scans_done

    async def run(self, hints: Hints, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            loops = [
                tasks.create_task(hints.run(self._buffer)),
                tasks.create_task(self._repeat(self._scan_when_due)),
                tasks.create_task(self._repeat(self._look_at_hints)),
                tasks.create_task(self._repeat(self._settle_soon)),
            ]
            await stop.wait()
            for loop in loops:
                loop.cancel()

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
                self._moved()
            except TransientError as error:
                # The next scan finds again what this step was working on.
                log.warning("watch_postponed", root=self._place.root, error=str(error))
                self._buffer.scan_wanted.set()
                await asyncio.sleep(OUTAGE_PAUSE_S)

    async def _scan_when_due(self) -> None:
        await self._buffer.state_known.wait()
        self._buffer.scan_wanted.clear()
        if not self._scans_done:
            tries = self._pace.max_failures - 1
            await watched_files.give_another_try(self._intake.pool, self._place.root, tries)
        started = self._clock.now()
        scan = await self._comparison.scan(self._place)
        took_s = round(self._clock.now() - started, 3)
        self._scans_done += 1
        log.info(
            "watch_scanned",
            uri=self._place.uri,
            took_s=took_s,
            is_live=self._buffer.is_live,
            **asdict(scan),
        )
        # However often scans are asked for, they take at most half of the time.
        await asyncio.sleep(max(self._pace.settle_s, took_s))
        pause_s = self._pace.rescan_s if self._buffer.is_live else self._pace.poll_s
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._buffer.scan_wanted.wait()

    async def _look_at_hints(self) -> None:
        await self._comparison.look_at(await self._buffer.next())

    async def _settle_soon(self) -> None:
        await asyncio.sleep(min(max(self._pace.settle_s / 4, 0.02), 0.5))
        await self._comparison.settle()
