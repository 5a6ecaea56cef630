"""FileIntake of files: read once for their hash, announced, then written to the ledger."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from core.blobs.naming import RootedPath
from core.blobs.roots import Roots, Signature
from core.blobs.walking import FoundFile
from core.errors import DatabaseAway, ImageMissing, PermanentError
from core.storage.folders import watched_files
from core.storage.folders.watched_files import FileState, WatchedFile
from core.storage.pool import Pool
from producers.folders.announcing import Announcer, Photo
from producers.folders.crowds import Trickle
from producers.folders.settling import Pace, needs_work
from schemas.image import image_id_of

log = structlog.get_logger(__name__)

HASHES_AT_A_TIME = 4
RECORD_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Read:
    """A file and what came of reading it: its hash, or an error."""

    found: FoundFile
    known: WatchedFile | None
    outcome: bytes | PermanentError

    def row(self, state: FileState, reason: str | None = None, attempts: int = 0) -> WatchedFile:
        """Return the ledger's row for this file as it was read."""
        place, seen = self.found.place, self.found.signature
        return WatchedFile(
            root=place.root,
            relative_path=place.relative,
            size_bytes=seen.size_bytes,
            mtime_ns=seen.mtime_ns,
            inode=seen.inode,
            device=seen.device,
            image_id=image_id_of(place.uri),
            state=state,
            sha256=self.outcome if isinstance(self.outcome, bytes) else None,
            attempts=attempts,
            reason=reason,
        )


@dataclass(slots=True)
class FileIntake:
    """Takes files in, one batch at a time for all callers, so that no file is announced twice.

    Attributes:
        announced: how many announcements Kafka has, since the start.
    """

    roots: Roots
    pool: Pool
    announcer: Announcer
    pace: Pace
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], float] = time.monotonic
    announced: int = 0
    trickle: Trickle = field(default_factory=Trickle)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _in_hand: "set[asyncio.Future[list[FoundFile]]]" = field(default_factory=set)

    async def take(self, files: Sequence[FoundFile]) -> list[FoundFile]:
        """Announce files that are new or changed; return those that changed while being read.

        Raises:
            TransientError: a root or PostgreSQL is away; nothing that was announced is lost
                to the ledger.
        """
        if not files:
            return []
        # Shielded: if stopped between acknowledgement and ledger, the batch would be repeated.
        taking = asyncio.ensure_future(self._take(files))
        self._in_hand.add(taking)
        taking.add_done_callback(self._in_hand.discard)
        return await asyncio.shield(taking)

    async def drain(self, timeout_s: float) -> None:
        """Wait for batches whose callers have stopped; cancel those that take over `timeout_s`."""
        if not self._in_hand:
            return
        _, late = await asyncio.wait(self._in_hand, timeout=timeout_s)
        for taking in late:
            taking.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _take(self, files: Sequence[FoundFile]) -> list[FoundFile]:
        async with self._lock:
            root = files[0].place.root
            # Looked up inside of the lock: a scan and an event may bring the same file.
            known = await watched_files.many(
                self.pool, root, [file.place.relative for file in files]
            )
            fresh = [f for f in files if needs_work(known.get(f.place.relative), f.signature)]
            turns = asyncio.Semaphore(HASHES_AT_A_TIME)
            read = await asyncio.gather(
                *(self._read(file, known.get(file.place.relative), turns) for file in fresh)
            )
            await self._note(await self._announce([r for r in read if not _is_unsettled(r)]))
        return [r.found for r in read if _is_unsettled(r) and not _is_gone(r)]

    async def _read(
        self, file: FoundFile, known: WatchedFile | None, turns: asyncio.Semaphore
    ) -> _Read:
        async with turns:
            try:
                outcome, seen = await asyncio.to_thread(
                    self.roots.digest, file.place, max_bytes=self.pace.max_bytes
                )
            except PermanentError as error:
                return _Read(file, known, error)
        if seen != file.signature:
            now = FoundFile(file.place, replace(seen, device=file.signature.device))
            return _Read(now, known, PermanentError("changed", reason="image_changing"))
        return _Read(file, known, outcome)

    async def _announce(self, read: Sequence[_Read]) -> list[WatchedFile]:
        """Announce files whose bytes are new; return the rows to be written."""
        rows = [self._failed(r, r.outcome) for r in read if isinstance(r.outcome, PermanentError)]
        good = [r for r in read if isinstance(r.outcome, bytes)]
        rows += [r.row(FileState.ANNOUNCED) for r in good if _has_known_bytes(r)]
        new = [r for r in good if not _has_known_bytes(r)]
        problems = await self.announcer.announce(
            [Photo(r.found.place.uri, sha256=_hex(r)) for r in new],
            lane=self.trickle.lane(len(new), self.now()),
        )
        for item, problem in zip(new, problems, strict=True):
            if problem is None:
                self.announced += 1
                rows.append(item.row(FileState.ANNOUNCED))
            elif isinstance(problem, PermanentError):
                rows.append(self._failed(item, problem))
            # else the broker stayed away: without a row the next scan brings the file again
        if new:
            log.info("files_announced", files=len(new), failed=sum(p is not None for p in problems))
        return rows

    def _failed(self, read: _Read, error: PermanentError) -> WatchedFile:
        known = read.known
        attempts = known.attempts + 1 if known and known.state is FileState.FAILING else 1
        hopeless = error.reason == "image_too_large" or attempts >= self.pace.max_failures
        state = FileState.QUARANTINED if hopeless else FileState.FAILING
        if hopeless:
            log.warning("file_quarantined", uri=read.found.place.uri, reason=error.reason)
        row = read.row(state, error.reason, attempts)
        # The old hash stays: if the file becomes readable as it was, it needs no announcement,
        # unless its image was taken for missing meanwhile.
        return replace(row, sha256=known.sha256 if known else None)

    async def _note(self, rows: Sequence[WatchedFile]) -> None:
        """Write the ledger, trying until it works: these files are announced."""
        while rows:
            try:
                await watched_files.record(self.pool, rows)
            except DatabaseAway as error:
                log.warning("ledger_retried", files=len(rows), error=str(error))
                await self.sleep(RECORD_PAUSE_S)
            else:
                return


def found_at(
    roots: Roots, place: RootedPath, signature: Signature | None = None
) -> FoundFile | None:
    """Return the file at a place as it is now; None where there is none, or another signature.

    Raises:
        BlobStoreAway: the root is away.
    """
    try:
        seen = roots.look(place)
    except PermanentError:
        return None
    return FoundFile(place, seen) if signature is None or seen == signature else None


def _is_unsettled(read: _Read) -> bool:
    """Return whether the file changed or vanished while it was read."""
    return isinstance(read.outcome, PermanentError) and (
        read.outcome.reason == "image_changing" or _is_gone(read)
    )


def _is_gone(read: _Read) -> bool:
    error = read.outcome
    return isinstance(error, ImageMissing) and isinstance(error.__cause__, FileNotFoundError)


def _has_known_bytes(read: _Read) -> bool:
    """Return whether the file was only touched, or replaced by the same bytes."""
    known = read.known
    return (
        known is not None
        and known.state is not FileState.MISSING
        and known.sha256 is not None
        and known.sha256 == read.outcome
    )


def _hex(read: _Read) -> str | None:
    return read.outcome.hex() if isinstance(read.outcome, bytes) else None
