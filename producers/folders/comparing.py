"""A directory compared with the ledger: which files are new, have come to rest, or are gone.

There are three steps, to be taken in any order and repeated: a scan of the whole directory, a look
at the paths that the watcher named, and the settling of files that were changing before. All hand
files to the same `FileIntake`, which asks the ledger first.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import structlog

from core.blobs.kinds import Skip, skip_by_kind, skip_by_name
from core.blobs.naming import RootedPath
from core.blobs.roots import Roots
from core.blobs.walking import FoundFile, Walk
from core.errors import PermanentError
from core.storage.folders import watched_files
from core.storage.folders.watched_files import FileState, WatchedFile
from producers.folders.announcing import in_batches
from producers.folders.hints import Hint, HintKind
from producers.folders.intake import FileIntake, found_at
from producers.folders.settling import Clock, Pace, Settling, is_at_rest, is_same, needs_work
from producers.folders.vanishing import Vanishing

log = structlog.get_logger(__name__)

LEDGER_PAGE = 1000
# A row of PostgreSQL's index holds about 2,700 bytes: the ledger's key is the root and the path.
MAX_PATH_BYTES = 2500


@dataclass(slots=True)
class Scan:
    """Counts of one scan."""

    photos: int = 0
    taken: int = 0
    waiting: int = 0
    skipped: dict[Skip, int] = field(default_factory=dict)


class Comparison:
    """Keeps the ledger of one directory up to date.

    Args:
        place: the directory.
        intake: shared by all directories of the process.
        scan_wanted: set where more files wait than are remembered: a scan finds the others.
    """

    def __init__(
        self, place: RootedPath, intake: FileIntake, clock: Clock, scan_wanted: asyncio.Event
    ) -> None:
        self._place = place
        self._intake = intake
        self._roots: Roots = intake.roots
        self._pace: Pace = intake.pace
        self._clock = clock
        self._scan_wanted = scan_wanted
        self._settling = Settling(self._pace.settle_s, self._pace.max_waiting)
        self._vanishing = Vanishing(
            place.root,
            intake.roots,
            intake.pool,
            grace_s=self._pace.settle_s,
            bound=self._pace.max_waiting,
        )
        self._second_looks: dict[bytes, float] = {}

    async def scan(self, below: RootedPath) -> Scan:
        """Compare a directory with the ledger: take in new files, suspect those that are not there.

        Raises:
            TransientError: the root, PostgreSQL or Kafka is away.
        """
        scan, position = Scan(), below.relative + b"/" if below.relative else b""
        walk = Walk(self._roots, below)
        try:
            async for batch in in_batches(walk, self._pace.batch):
                upto = batch[-1].place.relative
                known = {row.relative_path: row async for row in self._rows(below, position, upto)}
                await self._compare(batch, known, scan)
                position = upto
        except PermanentError as error:
            # It may be gone. Its files count as gone only where that is proven of each.
            log.warning("watched_directory_not_found", uri=below.uri, error=str(error))
        async for row in self._rows(below, position, None):
            self._vanishing.suspect(row, self._clock.now())
        for reason, number in walk.skipped.items():
            scan.skipped[reason] = scan.skipped.get(reason, 0) + number
        return scan

    async def look_at(self, hints: Sequence[Hint]) -> None:
        """Look at the paths that the watcher named.

        Raises:
            TransientError: the root, PostgreSQL or Kafka is away.
        """
        for start in range(0, len(hints), self._pace.batch):
            await self._look_at_batch(hints[start : start + self._pace.batch])

    async def settle(self) -> None:
        """Take in files at rest, scan new directories a second time, confirm which files are gone.

        Raises:
            TransientError: the root, PostgreSQL or Kafka is away.
        """
        now = self._clock.now()
        rested = self._settling.take_rested(now, self._pace.batch)
        if rested:
            looked = await asyncio.to_thread(self._look, list(rested))
            await self._take([found for found in looked if rested[_path(found)] == found.signature])
            for found in looked:
                if rested[_path(found)] != found.signature:
                    self._wait_for(found)
        for path in [path for path, due in self._second_looks.items() if due <= now]:
            del self._second_looks[path]
            await self.scan(RootedPath(self._place.root, path))
        await self._vanishing.confirm(now, self._pace.batch)

    async def _rows(
        self, below: RootedPath, after: bytes, upto: bytes | None
    ) -> AsyncIterator[WatchedFile]:
        """Yield the ledger's rows below a place in byte order, read page by page."""
        prefix = below.relative + b"/" if below.relative else b""
        while True:
            page = await watched_files.between(
                self._intake.pool, below.root, after, upto, LEDGER_PAGE
            )
            for row in page:
                if not row.relative_path.startswith(prefix):
                    return
                yield row
            if len(page) < LEDGER_PAGE:
                return
            after = page[-1].relative_path

    async def _compare(
        self, batch: Sequence[FoundFile], known: dict[bytes, WatchedFile], scan: Scan
    ) -> None:
        moved: list[WatchedFile] = []
        ready: list[FoundFile] = []
        for found in batch:
            row = known.pop(_path(found), None)
            self._vanishing.found_again(_path(found))
            if row is not None and is_same(row, found.signature):
                self._vanishing.learn_device(row.device, found.signature.device)
                if row.device != found.signature.device:
                    moved.append(replace(row, device=found.signature.device))
            if len(_path(found)) > MAX_PATH_BYTES:
                scan.skipped[Skip.PATH_TOO_LONG] = scan.skipped.get(Skip.PATH_TOO_LONG, 0) + 1
            elif needs_work(row, found.signature):
                self._sort_out(found, ready)
        for row in known.values():
            self._vanishing.suspect(row, self._clock.now())
        scan.photos += len(batch)
        scan.taken += len(ready)
        await self._take(ready)
        scan.waiting = len(self._settling)
        await watched_files.record(
            self._intake.pool, [row for row in moved if row.state is FileState.ANNOUNCED]
        )

    def _sort_out(self, found: FoundFile, ready: list[FoundFile]) -> None:
        if is_at_rest(found.signature, self._clock.wall_ns(), self._pace.settle_s):
            self._settling.forget(_path(found))
            ready.append(found)
        else:
            self._wait_for(found)

    def _wait_for(self, found: FoundFile) -> None:
        if not self._settling.observe(_path(found), found.signature, self._clock.now()):
            self._scan_wanted.set()

    async def _take(self, ready: Sequence[FoundFile]) -> None:
        for changed in await self._intake.take(ready):
            self._wait_for(changed)

    async def _look_at_batch(self, hints: Sequence[Hint]) -> None:
        paths = [self._below(hint.relative) for hint in hints]
        wanted = [
            (hint.kind, path) for hint, path in zip(hints, paths, strict=True) if _is_visible(path)
        ]
        looked = await asyncio.to_thread(self._look, [path for _, path in wanted])
        there = {_path(found) for found in looked}
        ready: list[FoundFile] = []
        for found in looked:
            self._vanishing.found_again(_path(found))
            self._sort_out(found, ready)
        await self._take(ready)
        await self._look_for([(kind, path) for kind, path in wanted if path not in there])

    async def _look_for(self, absent: Sequence[tuple[HintKind, bytes]]) -> None:
        """Scan the paths that are directories; suspect those where nothing is any more."""
        walked: list[bytes] = []
        gone: list[bytes] = []
        for kind, path in sorted(absent, key=lambda each: each[1]):
            place = RootedPath(self._place.root, path)
            if any(path.startswith(outer + b"/") for outer in walked):
                continue
            if not await asyncio.to_thread(self._roots.is_directory, place):
                gone.append(path)
                await self._suspect_below(kind, path)
            elif kind is HintKind.ADDED:
                # The watcher misses files written before it watches a new directory. Those that
                # come between this scan and that moment are found by the second scan.
                walked.append(path)
                await self.scan(place)
                self._second_looks[path] = self._clock.now() + self._pace.settle_s
        known = await watched_files.many(self._intake.pool, self._place.root, gone) if gone else {}
        for path in gone:
            self._settling.forget(path)
        for row in known.values():
            self._vanishing.suspect(row, self._clock.now())

    async def _suspect_below(self, kind: HintKind, path: bytes) -> None:
        if kind is HintKind.DELETED and not _is_photo(path):  # it may have been a directory
            async for row in self._rows(RootedPath(self._place.root, path), path + b"/", None):
                self._vanishing.suspect(row, self._clock.now())

    def _look(self, paths: Sequence[bytes]) -> list[FoundFile]:
        places = (
            RootedPath(self._place.root, path)
            for path in paths
            if _is_photo(path) and len(path) <= MAX_PATH_BYTES
        )
        return [found for place in places if (found := found_at(self._roots, place)) is not None]

    def _below(self, relative: bytes) -> bytes:
        return self._place.relative + b"/" + relative if self._place.relative else relative


def _path(found: FoundFile) -> bytes:
    return found.place.relative


def _is_visible(path: bytes) -> bool:
    return not any(skip_by_name(part) for part in path.split(b"/"))


def _is_photo(path: bytes) -> bool:
    return skip_by_kind(path.rpartition(b"/")[2]) is None
