"""Files that seem to be gone: only what is proven absent makes an image `missing`.

A root that is not mounted looks like a root that was emptied. So a file counts as gone only if
its absence is certain ("no such file") and the nearest directory above its place is on the device
that the file's directory was on; a device whose number changed (a restart) is recognised by
another file that is still there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import structlog

from core.blobs.naming import RootedPath
from core.blobs.roots import Roots
from core.storage.folders import watched_files
from core.storage.folders.watched_files import FileState, WatchedFile
from core.storage.pool import Pool

log = structlog.get_logger(__name__)


class Vanishing:
    """Files of one root that were not found where the ledger has them.

    Args:
        grace_s: how long one may be absent: programs replace files by deleting them first.
        bound: how many are remembered; scans find the others again.
    """

    def __init__(self, root: str, roots: Roots, pool: Pool, *, grace_s: float, bound: int) -> None:
        self._root = root
        self._roots = roots
        self._pool = pool
        self._grace_s = grace_s
        self._bound = bound
        self._due: dict[bytes, float] = {}
        self._numbers: dict[int, set[int]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._due)

    def suspect(self, row: WatchedFile, now: float) -> None:
        """Note that a file of the ledger was not found."""
        if row.state is not FileState.MISSING and len(self._due) < self._bound:
            self._due.setdefault(row.relative_path, now + self._grace_s)

    def found_again(self, path: bytes) -> None:
        """Forget the suspicion."""
        self._due.pop(path, None)

    def learn_device(self, recorded: int, now_on: int) -> None:
        """Note that a file recorded on device `recorded` is unchanged on device `now_on`."""
        self._numbers[recorded].add(now_on)

    async def confirm(self, now: float, limit: int) -> int:
        """Mark files missing whose grace is over and whose absence is certain; return how many.

        Raises:
            DatabaseAway: PostgreSQL is away; the suspicions stay.
        """
        due = [path for path, at in self._due.items() if at <= now][:limit]
        if not due:
            return 0
        known = await watched_files.many(self._pool, self._root, due)
        gone = await asyncio.to_thread(self._certain, list(known.values()))
        marked = await self._mark_missing(gone) if gone else 0
        for path in due:
            self._due.pop(path, None)
        if marked:
            log.info("files_missing", root=self._root, files=marked)
        if unproven := len(known) - len(gone):
            log.info("files_not_found", root=self._root, files=unproven)
        return marked

    async def _mark_missing(self, paths: Sequence[bytes]) -> int:
        async with self._pool.transaction() as tx:
            return await watched_files.mark_missing(tx, self._root, paths)

    def _certain(self, rows: Sequence[WatchedFile]) -> list[bytes]:
        return [row.relative_path for row in rows if self._is_certain(row)]

    def _is_certain(self, row: WatchedFile) -> bool:
        device = self._roots.gone_from(RootedPath(self._root, row.relative_path))
        return device is not None and (
            device == row.device or device in self._numbers.get(row.device, ())
        )
