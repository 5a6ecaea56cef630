"""Walking a directory under a root: the photos in it in byte order, and what was passed over.

The order is that of the whole relative paths as bytes, which is also PostgreSQL's order of
`bytea`: a walk can be resumed after any path, and compared with the ledger page by page.
Links are not followed. Memory: the names of one directory per level.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from core.blobs.kinds import IMAGE_EXTENSIONS, Skip, skip_by_kind, skip_by_name
from core.blobs.naming import MAX_URI_CHARS, RootedPath
from core.blobs.roots import Roots, Signature, signature_of, translated
from core.errors import PermanentError


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A photo that the walk came to."""

    place: RootedPath
    signature: Signature


@dataclass(frozen=True, slots=True)
class _Entry:
    order: bytes  # a directory's carries the slash, so that siblings sort as whole paths do
    name: bytes
    judged: Signature | Skip | None  # None: a directory


class Walk:
    """One walk; iterate it once. Blocking, and safe to be moved between threads.

    Args:
        roots: where it takes place.
        start: the directory; the root itself by default.
        after: only paths greater than this one (relative to the root, bytes).
        wanted: extensions in lower case, without the point.

    Attributes:
        skipped: how many files and directories were passed over so far, by reason: those between
            `after` and the last photo given, at the end all behind `after`.
    """

    def __init__(
        self,
        roots: Roots,
        start: RootedPath,
        *,
        after: bytes = b"",
        wanted: frozenset[bytes] = IMAGE_EXTENSIONS,
    ) -> None:
        self._roots = roots
        self._start = start
        self._after = after
        self._wanted = wanted
        self.skipped: Counter[Skip] = Counter()

    def __iter__(self) -> Iterator[FoundFile]:
        """Return the photos in the byte order of their paths.

        Raises:
            ImageMissing: the start is no directory.
            ImageUnreadable: the start cannot be read (below it that is counted, `unreadable`).
            BlobStoreAway: the root is not there, or the file system fails.
        """
        stack = [(self._start.relative, iter(self._list(self._start.relative)))]
        while stack:
            parent, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
                continue
            path = parent + b"/" + entry.name if parent else entry.name
            if entry.judged is None:
                if not self._is_done(path + b"/"):
                    stack.append((path, iter(self._list_below(path))))
            elif path > self._after:
                if isinstance(entry.judged, Signature):
                    yield FoundFile(RootedPath(self._start.root, path), entry.judged)
                else:
                    self.skipped[entry.judged] += 1

    def _is_done(self, prefix: bytes) -> bool:
        return prefix < self._after and not self._after.startswith(prefix)

    def _list_below(self, relative: bytes) -> list[_Entry]:
        try:
            return self._list(relative)
        except PermanentError:  # gone since its parent was read, not ours to read, or broken
            self.skipped[Skip.UNREADABLE] += 1
            return []

    def _list(self, relative: bytes) -> list[_Entry]:
        place = RootedPath(self._start.root, relative)
        with self._roots.opened_directory(place) as directory, translated(place):
            device = os.fstat(directory).st_dev
            with os.scandir(directory) as listing:
                found = [self._judge(place, item, device) for item in listing]
        return sorted(found, key=lambda entry: entry.order)

    def _judge(self, parent: RootedPath, item: "os.DirEntry[str]", device: int) -> _Entry:
        name = os.fsencode(item.name)
        if reason := skip_by_name(name):
            return _Entry(name, name, reason)
        if item.is_dir(follow_symlinks=False):
            return _Entry(name + b"/", name, None)
        if item.is_symlink():
            return _Entry(name, name, Skip.SYMLINK)
        place = RootedPath(parent.root, parent.relative + b"/" + name if parent.relative else name)
        judged = skip_by_kind(name, self._wanted) or _look_at(item, place, device)
        return _Entry(name, name, judged)


def _look_at(item: "os.DirEntry[str]", place: RootedPath, device: int) -> Signature | Skip:
    try:
        found = item.stat(follow_symlinks=False)
    except OSError:
        return Skip.UNREADABLE
    if not stat.S_ISREG(found.st_mode):
        return Skip.NOT_REGULAR
    if found.st_size == 0:
        return Skip.EMPTY
    if len(place.uri) > MAX_URI_CHARS:
        return Skip.PATH_TOO_LONG
    return signature_of(found, device)
