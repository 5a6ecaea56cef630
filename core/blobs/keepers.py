"""Where bytes are kept under their SHA-256: PostgreSQL, a directory, or a bucket."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

from obstore.exceptions import BaseError, NotFoundError

from core.blobs.sources import open_bucket, read_object
from core.blobs.store import Keeper
from core.errors import BlobStoreAway, ConfigurationError, ImageMissing, ImageUnreadable
from core.transaction import Transaction


class BlobTable(Protocol):
    """Bytes in PostgreSQL: `core.storage.blobs.PostgresBlobs`."""

    async def size(self, digest: bytes) -> int | None:
        """Give how many bytes are kept; None where nothing is."""
        ...

    async def read(self, digest: bytes) -> bytes | None:
        """Give the bytes; None where nothing is kept."""
        ...

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:
        """Keep bytes, in `tx` or at once."""
        ...

    async def delete(self, digest: bytes, tx: Transaction | None) -> None:
        """Forget bytes, in `tx` or at once."""
        ...


def keeper_of(url: str, table: BlobTable) -> Keeper:
    """The keeper that `ARCHIVE_BLOBS` names.

    Raises:
        ConfigurationError: another scheme than pg, file, s3, gs, az, or no absolute path.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "pg":
        return TableKeeper(table)
    if scheme == "file" and rest.startswith("/"):
        return DirectoryKeeper(Path("/" + rest.lstrip("/")))
    if scheme in ("s3", "gs", "az") and rest.startswith("//"):
        return BucketKeeper(open_bucket(url), scheme)
    raise ConfigurationError(
        f"ARCHIVE_BLOBS: {url!r} is none of pg:, file:/directory, s3://…, gs://…, az://…"
    )


class TableKeeper:
    """Keeps bytes in PostgreSQL: one place to back up, one transaction with the rows."""

    def __init__(self, table: BlobTable) -> None:
        self._table = table

    async def read(self, digest: bytes, *, max_bytes: int) -> bytes:
        """As `Keeper.read`."""
        size = await self._table.size(digest)
        if size is not None and size > max_bytes:
            raise _too_large(digest, size, max_bytes)
        content = await self._table.read(digest) if size is not None else None
        if content is None:
            raise _nothing(digest)
        return content

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:
        """As `Keeper.put`."""
        await self._table.put(digest, content, tx)

    async def delete(self, digest: bytes, tx: Transaction | None) -> None:
        """As `Keeper.delete`."""
        await self._table.delete(digest, tx)


class DirectoryKeeper:
    """Keeps bytes in files `ab/cd/abcd…`; whole and on the disk before they have their name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def read(self, digest: bytes, *, max_bytes: int) -> bytes:
        """As `Keeper.read`."""
        return await asyncio.to_thread(self._read, digest, max_bytes)

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:  # noqa: ARG002
        """As `Keeper.put`; `tx` plays no part."""
        await asyncio.to_thread(self._put, digest, content)

    async def delete(self, digest: bytes, tx: Transaction | None) -> None:  # noqa: ARG002
        """As `Keeper.delete`; `tx` plays no part."""
        await asyncio.to_thread(self._delete, digest)

    def _read(self, digest: bytes, max_bytes: int) -> bytes:
        try:
            with self._path(digest).open("rb") as file:
                content = file.read(max_bytes + 1)
        except FileNotFoundError as error:
            if not self._directory.is_dir():
                raise BlobStoreAway("the directory of ARCHIVE_BLOBS is not there") from error
            raise _nothing(digest) from error
        except OSError as error:
            raise BlobStoreAway(f"blob directory: {error.strerror}") from error
        if len(content) > max_bytes:
            raise _too_large(digest, len(content), max_bytes)
        return content

    def _put(self, digest: bytes, content: bytes) -> None:
        path = self._path(digest)
        try:
            if path.exists():
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, content)
        except OSError as error:
            raise BlobStoreAway(f"blob directory: {error.strerror}") from error

    def _delete(self, digest: bytes) -> None:
        try:
            self._path(digest).unlink(missing_ok=True)
        except OSError as error:
            raise BlobStoreAway(f"blob directory: {error.strerror}") from error

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._directory / name[:2] / name[2:4] / name


class BucketKeeper:
    """Keeps bytes as objects `ab/cd/abcd…` in a bucket."""

    def __init__(self, store: Any, scheme: str) -> None:
        self._store = store
        self._scheme = scheme

    async def read(self, digest: bytes, *, max_bytes: int) -> bytes:
        """As `Keeper.read`."""
        return await read_object(
            self._store, _key(digest), f"{self._scheme}: {digest.hex()}", max_bytes
        )

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:  # noqa: ARG002
        """As `Keeper.put`; `tx` plays no part. The same bytes twice are one object."""
        try:
            await self._store.put_async(_key(digest), content)
        except BaseError as error:
            raise BlobStoreAway(f"{self._scheme}: {type(error).__name__}") from error

    async def delete(self, digest: bytes, tx: Transaction | None) -> None:  # noqa: ARG002
        """As `Keeper.delete`; `tx` plays no part."""
        try:
            await self._store.delete_async(_key(digest))
        except (NotFoundError, FileNotFoundError):
            return
        except BaseError as error:
            raise BlobStoreAway(f"{self._scheme}: {type(error).__name__}") from error


def _write_whole(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    # The name, too, must be on the disk before the row that refers to it commits.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _key(digest: bytes) -> str:
    name = digest.hex()
    return f"{name[:2]}/{name[2:4]}/{name}"


def _nothing(digest: bytes) -> ImageMissing:
    return ImageMissing(f"blob:{digest.hex()}: nothing is kept under this hash")


def _too_large(digest: bytes, size: int, max_bytes: int) -> ImageUnreadable:
    return ImageUnreadable(
        f"blob:{digest.hex()} has {size} bytes or more, the limit is {max_bytes}",
        reason="image_too_large",
    )
