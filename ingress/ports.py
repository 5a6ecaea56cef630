"""What the HTTP face needs from outside, named by its user. `parts.py` joins the real things."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol
from uuid import UUID

from core.errors import PermanentError
from core.storage.archive.image_pages import Filter
from core.storage.archive.images import Accepted, ImageStatus
from core.storage.archive.jobs import DirectoryJob, DirectoryOptions
from core.storage.keys import ApiKey
from core.storage.queries.queries import QueryStatus
from core.transaction import Transaction


class ImageTable(Protocol):
    """Images from the moment they are accepted."""

    async def accept(  # noqa: PLR0913 - keyword-only: the columns of one row
        self,
        tx: Transaction,
        *,
        image_id: UUID,
        uri: str,
        path: str,
        owner: str | None = None,
        media_type: str | None = None,
        size_bytes: int | None = None,
        sha256: bytes | None = None,
        job_id: UUID | None = None,
    ) -> Accepted:
        """Note that an image is there; tell whether it was known before, and the time."""
        ...

    async def status(self, connection: Transaction, image_id: UUID) -> ImageStatus | None:
        """Return all that is known of an image; None if unknown or deleted."""
        ...

    async def job_counts(self, connection: Transaction, job_id: UUID) -> dict[str, int]:
        """Return how many of a job's images are in each status."""
        ...


class ImagePages(Protocol):
    """The archive, page by page."""

    async def page(
        self, connection: Transaction, wanted: Filter, limit: int
    ) -> Sequence[ImageStatus]:
        """Return at most `limit` images, the newest arrival first."""
        ...


class QueryTable(Protocol):
    """Queries and what became of them."""

    async def accept(  # noqa: PLR0913 - keyword-only: the columns of one row
        self,
        tx: Transaction,
        *,
        query_id: UUID,
        owner: str | None,
        text: str,
        callback_url: str,
        options: dict[str, Any],
        fingerprint: bytes | None = None,
    ) -> Literal["new", "same", "other", "deleted"]:
        """Keep a query; `same` or `other` by fingerprint where its id was there before."""
        ...

    async def status(self, connection: Transaction, query_id: UUID) -> QueryStatus | None:
        """Return all that is known of a query; None if unknown."""
        ...


class KeyTable(Protocol):
    """API keys as digests."""

    async def find(self, connection: Transaction, key_id: str) -> ApiKey | None:
        """Return the key with this id, usable or not."""
        ...

    async def touch(self, tx: Transaction, key_id: str, *, older_than: timedelta) -> None:
        """Note that a key was used, unless that was noted a short time ago."""
        ...


class Blobs(Protocol):
    """Bytes of images by URI."""

    async def keep_outside(self, content: bytes) -> None:
        """Keep bytes at once, where they are not kept in PostgreSQL.

        Raises:
            TransientError: they were not kept.
        """
        ...

    async def put(self, content: bytes, sha256: bytes, tx: Transaction) -> None:
        """Keep bytes with what `tx` writes, where they are kept in PostgreSQL.

        Raises:
            TransientError: they were not kept.
        """
        ...

    async def read_all(self, uris: Sequence[str]) -> list[bytes | PermanentError]:
        """Return each URI's bytes, or why there are none, in order.

        Raises:
            TransientError: a place is away.
        """
        ...


@dataclass(frozen=True, slots=True)
class Picture:
    """What the first bytes of a picture say."""

    media_type: str
    width: int
    height: int


class Prober(Protocol):
    """Tells pictures from other bytes, by their first bytes alone."""

    def probe(self, content: bytes) -> Picture:
        """Return type and size.

        Raises:
            ImageUnreadable: no picture of a known kind, broken, or over a limit.
        """
        ...


class CallbackGuard(Protocol):
    """Says which addresses may be called."""

    async def check(self, url: str) -> object:
        """Pass an address.

        Raises:
            TargetForbidden: names the address and the rule.
            TargetUnreachable: the name cannot be resolved now.
        """
        ...


class Links(Protocol):
    """Signed, expiring links to the bytes of an image."""

    def check(self, link: str) -> None:
        """Pass a link (path and query) that is ours and not expired.

        Raises:
            PermanentError: it was altered, has expired, or is none of ours.
        """
        ...


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file under an allowed root."""

    uri: str
    image_path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FoundDirectory:
    """A directory under an allowed root; `relative` is '' for the root itself."""

    root: str
    relative: str

    @property
    def image_path(self) -> str:
        """What people see: `<root>/<relative path>`."""
        return f"{self.root}/{self.relative}" if self.relative else self.root


class Archive(Protocol):
    """Files and directories under the allowed roots, by what a client calls them."""

    @property
    def is_open(self) -> bool:
        """At least one root is allowed."""
        ...

    async def file(self, path: str) -> FoundFile:
        """Find a file.

        Raises:
            ImageMissing: none that may be read; missing and forbidden are not told apart.
            BlobStoreAway: the root itself is not there.
        """
        ...

    async def directory(self, path: str) -> FoundDirectory:
        """Find a directory; raises as `file`."""
        ...

    async def count(
        self, directory: FoundDirectory, extensions: Sequence[str] | None, *, within_s: float
    ) -> int | None:
        """Count the photos in a directory; None where that takes longer."""
        ...


class JobTable(Protocol):
    """Directory jobs."""

    async def create(  # noqa: PLR0913 - keyword-only: the columns of one row
        self,
        tx: Transaction,
        *,
        job_id: UUID,
        root: str,
        directory: str,
        options: DirectoryOptions,
        owner: str | None = None,
        total: int | None = None,
    ) -> None:
        """Write a job for the next free runner."""
        ...

    async def get(self, connection: Transaction, job_id: UUID) -> DirectoryJob | None:
        """Return a job; None if unknown."""
        ...

    async def recent(
        self,
        connection: Transaction,
        *,
        owner: str | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 50,
    ) -> list[DirectoryJob]:
        """Return jobs, of one owner or all, the newest first."""
        ...

    async def cancel(self, tx: Transaction, job_id: UUID) -> bool:
        """End a job that waits or runs; False if it had ended."""
        ...
