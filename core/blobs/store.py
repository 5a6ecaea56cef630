"""Image bytes by URI: each scheme has a source, and our own bytes have one keeper."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from core.errors import BlobStoreAway, ImageMissing, PermanentError, TransientError, innermost
from core.tags import Postponed, Slowness
from core.transaction import Transaction

T = TypeVar("T")

KEPT = "blob"
#: Schemes of hosts that anybody may name: how fast they send is nobody's promise.
STRANGERS = frozenset({"https", "http"})
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
    """Bounds of reading.

    Attributes:
        max_bytes: of one image.
        concurrency: reads at a time.
        timeout_s: for one read.
        share_s: for one read of a stranger's host while others wait for it.
        share_of_all_s: for all reads of strangers' hosts that one call of `read_soon` asks for.
    """

    max_bytes: int
    concurrency: int = 16  # hides a store's latency; the bytes of all are in memory
    timeout_s: float = 60.0
    share_s: float = 2.0  # a photo of 5 MB at 20 Mbit/s, as a decoder's share
    share_of_all_s: float = 6.0  # three rounds of turns


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
        return await self._read_each(uris, self._read)

    async def read_soon(self, uris: Sequence[str]) -> list[Content | Postponed]:
        """Return as `read_all` does, but wait for no stranger's host beyond its share.

        Hosts take turns, so that a slow one with many URIs does not use up the time of the others.

        Raises:
            TransientError: as `read_all`.
        """
        until = asyncio.get_running_loop().time() + self._limits.share_of_all_s

        async def read(uri: str) -> Content | Postponed:
            if uri.partition(":")[0] not in STRANGERS:
                return await self._read(uri)
            try:
                async with asyncio.timeout_at(until):
                    return await self._read(uri, self._limits.share_s)
            except TimeoutError:
                self._progressed()
                return Postponed(Slowness.SOURCE)

        return await self._read_each(uris, read)

    async def _read_each(
        self, uris: Sequence[str], read: Callable[[str], Coroutine[Any, Any, T]]
    ) -> list[T]:
        try:
            async with asyncio.TaskGroup() as tasks:
                started = {uri: tasks.create_task(read(uri)) for uri in in_turns(uris)}
        except* TransientError as away:
            raise _first(away) from away
        return [started[uri].result() for uri in uris]

    async def keep(self, content: bytes) -> str:
        """Keep bytes at once; return their `blob:` URI. Idempotent.

        Raises:
            TransientError: the place is away.
        """
        digest = hashlib.sha256(content)
        await self._keeper.put(digest.digest(), content, None)
        return f"{KEPT}:{digest.hexdigest()}"

    async def _read(self, uri: str, share_s: float | None = None) -> Content:
        """Return the bytes, or why there are none.

        Raises:
            TimeoutError: they did not come within `share_s` seconds of their turn.
            TransientError: the place is away.
        """
        scheme, _, rest = uri.partition(":")
        async with self._turns, asyncio.timeout(share_s):
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


def in_turns(uris: Iterable[str]) -> list[str]:
    """Return the URIs, each once, in an order in which their hosts take turns."""
    before: Counter[str] = Counter()
    turns: dict[str, int] = {}
    for uri in uris:
        if uri not in turns:
            host = uri.partition("://")[2].partition("/")[0]
            turns[uri] = before[host]
            before[host] += 1
    return sorted(turns, key=turns.__getitem__)


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ImageMissing(f"blob:{text[:80]} is no SHA-256 in hex") from error


def _first(group: BaseExceptionGroup[TransientError]) -> TransientError:
    found = innermost(group)
    return found if isinstance(found, TransientError) else BlobStoreAway(str(found))
