"""What a client calls a path, found under the allowed roots. Links never lead out of them."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from core.blobs.kinds import wanted_extensions
from core.blobs.naming import MAX_URI_CHARS, RootedPath, encode_name, parse_image_path
from core.blobs.roots import Roots
from core.blobs.walking import Walk
from core.errors import ImageMissing
from ingress.ports import FoundDirectory, FoundFile


class RootedArchive:
    """Finds files by `<root>/<relative path>`, or by an absolute path that lies below a root."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    @property
    def is_open(self) -> bool:
        """At least one root is allowed."""
        return bool(self._roots.names)

    async def file(self, path: str) -> FoundFile:
        """Find a file.

        Raises:
            ImageMissing: none that may be read; missing and forbidden are not told apart.
            BlobStoreAway: the root itself is not there.
        """
        return await asyncio.to_thread(self._file, path)

    async def directory(self, path: str) -> FoundDirectory:
        """Find a directory; raises as `file`."""
        return await asyncio.to_thread(self._directory, path)

    async def count(
        self, directory: FoundDirectory, extensions: Sequence[str] | None, *, within_s: float
    ) -> int | None:
        """Count the photos below a directory; None where that takes longer.

        Raises:
            ImageMissing: the directory is gone.
            BlobStoreAway: the root itself is not there.
        """
        try:
            # The thread looks at the clock at each photo; where there are none, only this does.
            async with asyncio.timeout(within_s + 0.1):
                return await asyncio.to_thread(self._count, directory, extensions, within_s)
        except TimeoutError:
            return None

    def _file(self, path: str) -> FoundFile:
        place = self._place(path)
        if len(place.uri) > MAX_URI_CHARS:
            raise ImageMissing(f"{len(place.uri)} characters, the limit is {MAX_URI_CHARS}")
        signature = self._roots.look(place)
        return FoundFile(place.uri, place.image_path, signature.size_bytes)

    def _directory(self, path: str) -> FoundDirectory:
        place = self._place(path)
        if not self._roots.is_directory(place):
            raise ImageMissing(f"{path!r} is no directory under the allowed roots")
        return FoundDirectory(place.root, encode_name(place.relative))

    def _place(self, path: str) -> RootedPath:
        if not path.startswith("/"):
            return parse_image_path(path)
        try:
            place = self._roots.place_of(Path(path))
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before 3.13
            raise ImageMissing(f"{path!r} cannot be resolved") from error
        if place is None:
            raise ImageMissing(f"{path!r} is under no allowed root")
        return place

    def _count(
        self, directory: FoundDirectory, extensions: Sequence[str] | None, within_s: float
    ) -> int | None:
        deadline = time.monotonic() + within_s
        wanted = wanted_extensions(None if extensions is None else tuple(extensions))
        number = 0
        for _ in Walk(self._roots, parse_image_path(directory.image_path), wanted=wanted):
            number += 1
            if time.monotonic() > deadline:
                return None
        return number
