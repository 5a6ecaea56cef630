"""A watched directory with a bridge, for the tests of the watching producer."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from core.blobs.naming import RootedPath
from core.blobs.roots import Roots
from core.storage.pool import Pool
from producers.folders.announcing import Announcer
from producers.folders.bridge import Bridge
from producers.folders.hints import HintBuffer, Hints, WatchfilesHints
from producers.folders.intake import FileIntake
from producers.folders.settling import Pace
from producers.publishing import Patience
from tests.fakes.publisher import MemoryPublisher

# The scans are far apart, so that files are found by the watcher's events.
PACE = Pace(settle_s=0.3, rescan_s=60, poll_s=0.3, batch=50)
LIMIT_S = 20
MAIN = RootedPath("main", b"")


class NoHints:
    """A watcher without events, so that only scans find files."""

    async def run(self, listener: HintBuffer) -> None:
        listener.set_live(False)
        await asyncio.Event().wait()


class Watched:
    """A root with a bridge that can be stopped and started like a process."""

    def __init__(self, path: Path, pool: Pool, kafka: MemoryPublisher) -> None:
        self.path = path
        self.kafka = kafka
        self.pool = pool
        self.roots = Roots({"main": path})
        self.pace = PACE

    def intake(self) -> FileIntake:
        announcer = Announcer(self.kafka, "/test", Patience(limit_s=math.inf, pause_s=0.01))
        return FileIntake(self.roots, self.pool, announcer, self.pace)

    @asynccontextmanager
    async def running(
        self, hints: Hints | None = None, *, scanned: bool = True
    ) -> AsyncIterator[Bridge]:
        intake, stop = self.intake(), asyncio.Event()
        bridge = Bridge(MAIN, intake)
        task = asyncio.create_task(bridge.run(hints or WatchfilesHints(self.path), stop))
        if scanned:
            await until(lambda: bridge.scans_done > 0)
        try:
            yield bridge
        finally:
            stop.set()
            await task
            await intake.drain(1)

    def write(self, name: str, content: bytes | None = None) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or name.encode())
        return path

    def uris(self) -> list[str]:
        return sorted(uri.removeprefix("file:main/") for uri in self.kafka.uris())

    async def announced(self, *names: str) -> None:
        """Wait until these are announced; then check that each is announced only once."""
        wanted = sorted(names)
        await until(lambda: set(wanted) <= set(self.uris()))
        await asyncio.sleep(3 * PACE.settle_s)
        assert Counter(self.uris()) == Counter(wanted)

    async def states(self) -> Counter[str]:
        rows = await self.pool.fetch("SELECT state FROM watched_files")
        return Counter(row["state"] for row in rows)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.02)
