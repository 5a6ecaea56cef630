"""Files and directories under the allowed roots, by the paths that clients send.

No link is followed out of a root.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from core.blobs.kinds import wanted_extensions
from core.blobs.naming import MAX_URI_CHARS, RootedPath, encode_name, parse_image_path
from core.blobs.roots import Roots
from core.blobs.walking import Walk
from core.errors import ImageMissing


@dataclass(frozen=True, slots=True)
class RootedFile:
    """A file under an allowed root."""

    uri: str
    image_path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RootedDirectory:
    """A directory under an allowed root; `relative` is '' for the root itself."""

    root: str
    relative: str

    @property
    def image_path(self) -> str:
        """What people see: `<root>/<relative path>`."""
        return f"{self.root}/{self.relative}" if self.relative else self.root


class RootedFiles:
    """Finds files by `<root>/<relative path>`, or by an absolute path that lies below a root."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    @property
    def is_open(self) -> bool:
        """Whether at least one root is allowed."""
        return bool(self._roots.names)

    async def file(self, path: str) -> RootedFile:
        """Return the file at a path.

        Raises:
            ImageMissing: no file that may be read; missing and forbidden files give the same error.
            BlobStoreAway: the root itself is not there.
        """
        return await asyncio.to_thread(self._file, path)

    async def directory(self, path: str) -> RootedDirectory:
        """Return the directory at a path; raises as `file`."""
        return await asyncio.to_thread(self._directory, path)

    async def count(
        self, directory: RootedDirectory, extensions: Sequence[str] | None, *, within_s: float
    ) -> int | None:
        """Return the number of photos below a directory; None where counting takes longer.

        Raises:
            ImageMissing: the directory is gone.
            BlobStoreAway: the root itself is not there.
        """
        try:
            # The thread looks at the clock at each photo; this also ends a walk without photos.
            async with asyncio.timeout(within_s + 0.1):
                return await asyncio.to_thread(self._count, directory, extensions, within_s)
        except TimeoutError:
            return None

    def _file(self, path: str) -> RootedFile:
        place = self._place(path)
        if len(place.uri) > MAX_URI_CHARS:
            raise ImageMissing(f"{len(place.uri)} characters, the limit is {MAX_URI_CHARS}")
        signature = self._roots.look(place)
        return RootedFile(place.uri, place.image_path, signature.size_bytes)

    def _directory(self, path: str) -> RootedDirectory:
        place = self._place(path)
        if not self._roots.is_directory(place):
            raise ImageMissing(f"{path!r} is no directory under the allowed roots")
        return RootedDirectory(place.root, encode_name(place.relative))

    def _place(self, path: str) -> RootedPath:
        if not path.startswith("/"):
            return parse_image_path(path)
        try:
            place = self._roots.place_below(path)
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop, before 3.13
            raise ImageMissing(f"{path!r} cannot be resolved") from error
        if place is None:
            raise ImageMissing(f"{path!r} is under no allowed root")
        return place

    def _count(
        self, directory: RootedDirectory, extensions: Sequence[str] | None, within_s: float
    ) -> int | None:
        deadline = time.monotonic() + within_s
        wanted = wanted_extensions(None if extensions is None else tuple(extensions))
        number = 0
        for _ in Walk(self._roots, parse_image_path(directory.image_path), wanted=wanted):
            number += 1
            if time.monotonic() > deadline:
                return None
        return number
