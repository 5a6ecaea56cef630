"""Image bytes by URI: each scheme has a source, and our own bytes have one keeper."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from core.errors import BlobStoreAway, ImageMissing, PermanentError, TransientError, innermost
from core.transaction import Transaction

KEPT = "blob"
Content = bytes | PermanentError


class Source(Protocol):
    """Reads the URIs of one scheme."""

    async def read(self, uri: str, *, max_bytes: int) -> bytes:
        """Return the bytes.

        Raises:
            PermanentError: this URI has no bytes that we accept.
            TransientError: the source is away, for all of its URIs.
        """
        ...


class BlobKeeper(Protocol):
    """Keeps bytes under their SHA-256."""

    async def read(self, digest: bytes, *, max_bytes: int) -> bytes:
        """Return the bytes.

        Raises:
            ImageMissing: nothing is kept under this hash.
            ImageUnreadable: more than `max_bytes`.
            TransientError: the place is away.
        """
        ...

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:
        """Store the bytes; do nothing if they are stored already.

        With `tx` they are there once it has committed, at the latest; without, at once.

        Raises:
            TransientError: the place is away.
        """
        ...

    async def kept(self, after: bytes, limit: int) -> Sequence[bytes]:
        """Return the hashes of kept bytes in order, beginning after one; at most `limit`.

        None where PostgreSQL keeps them: the pruner knows its table.

        Raises:
            TransientError: the place is away.
        """
        ...

    async def discard(self, digest: bytes, older_than: timedelta) -> bool:
        """Forget bytes that were put, or put again, longer ago; return whether they went.

        Raises:
            TransientError: the place is away.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Bounds of one `read_all`: bytes of one image, reads at a time, seconds for one read."""

    max_bytes: int
    concurrency: int = 16  # hides a store's latency; the bytes of all are in memory
    timeout_s: float = 60.0


class BlobStore:
    """Reads the bytes behind any URI that a record may carry, and keeps bytes by content.

    Args:
        keeper: of `blob:` URIs.
        sources: scheme -> source, for the schemes that this process can read.
        report_progress: is called after each URI, of many that one call may have.
    """

    def __init__(
        self,
        keeper: BlobKeeper,
        sources: Mapping[str, Source],
        limits: ReadLimits,
        report_progress: Callable[[], object] = lambda: None,
    ) -> None:
        self._keeper = keeper
        self._sources = dict(sources)
        self._limits = limits
        self._progressed = report_progress
        self._turns = asyncio.Semaphore(limits.concurrency)

    def apart(self) -> "BlobStore":
        """Return a store of the same places whose calls take no turns from this one's."""
        return BlobStore(self._keeper, self._sources, self._limits, self._progressed)

    async def read_all(self, uris: Sequence[str]) -> list[Content]:
        """Return each URI's bytes, or why there are none, in order; a repeated URI is read once.

        The turns are shared by all calls, so that two batches at a time read no more than one.

        Raises:
            TransientError: a place is away (`BlobStoreAway`, `DatabaseAway`).
        """
        wanted: dict[str, list[int]] = defaultdict(list)
        for index, uri in enumerate(uris):
            wanted[uri].append(index)
        contents: list[Content] = [ImageMissing("not read")] * len(uris)
        try:
            async with asyncio.TaskGroup() as tasks:
                started = {uri: tasks.create_task(self._read(uri)) for uri in wanted}
        except* TransientError as away:
            raise _first(away) from away
        for uri, places in wanted.items():
            for index in places:
                contents[index] = started[uri].result()
        return contents

    async def keep(self, content: bytes) -> str:
        """Keep bytes at once; return their `blob:` URI. Idempotent.

        Raises:
            TransientError: the place is away.
        """
        digest = hashlib.sha256(content)
        await self._keeper.put(digest.digest(), content, None)
        return f"{KEPT}:{digest.hexdigest()}"

    async def _read(self, uri: str) -> Content:
        scheme, _, rest = uri.partition(":")
        async with self._turns:
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    content: Content = await self._fetch(scheme, rest, uri)
            except TimeoutError as error:
                message = f"{scheme}: no bytes within {self._limits.timeout_s:g} s"
                raise BlobStoreAway(message) from error
            except PermanentError as error:
                content = error
        self._progressed()
        return content

    async def _fetch(self, scheme: str, rest: str, uri: str) -> bytes:
        if scheme == KEPT:
            return await self._keeper.read(_digest(rest), max_bytes=self._limits.max_bytes)
        source = self._sources.get(scheme)
        if source is None:
            raise ImageMissing(
                f"{scheme}: is not read here (known: {', '.join(sorted(self._sources))})",
                reason="scheme_not_supported",
            )
        return await source.read(uri, max_bytes=self._limits.max_bytes)


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ImageMissing(f"blob:{text[:80]} is no SHA-256 in hex") from error


def _first(group: BaseExceptionGroup[TransientError]) -> TransientError:
    found = innermost(group)
    return found if isinstance(found, TransientError) else BlobStoreAway(str(found))
