"""Keepers of bytes under their SHA-256: a directory, a bucket, or PostgreSQL."""

import asyncio
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError

from core.addresses import shown
from core.blobs.sources import open_bucket, read_object, store_away
from core.blobs.store import BlobKeeper
from core.errors import BlobStoreAway, ConfigurationError, ImageMissing, ImageUnreadable
from core.transaction import Transaction

HEX = re.compile(r"[0-9a-f]+")
HASH = re.compile(r"[0-9a-f]{64}")
#: Thumbnails are kept below this.
APART = "thumbs/"
#: A bucket that is not there is Python's own FileNotFoundError (obstore 0.12).
_FAILURES = (BaseError, FileNotFoundError)


def keeper_of(url: str, in_postgres: BlobKeeper) -> BlobKeeper:
    """Return the keeper that `ARCHIVE_BLOBS` names.

    Raises:
        ConfigurationError: another scheme than pg, file, s3, gs, az, or no absolute path.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "pg":
        return in_postgres
    if scheme == "file" and rest.startswith("/"):
        return DirectoryKeeper(Path("/" + rest.lstrip("/")))
    if scheme in ("s3", "gs", "az") and rest.startswith("//"):
        return BucketKeeper(open_bucket(url, "ARCHIVE_BLOBS"), scheme)
    raise ConfigurationError(
        f"ARCHIVE_BLOBS: {shown(url)} is none of pg:, file:/directory, s3://…, gs://…, az://…"
    )


class DirectoryKeeper:
    """Keeps bytes in files `ab/cd/abcd…`, renamed only after they are complete and on disk.

    Args:
        directory: has to be there.
        below: a path in it for what may be lost: nothing waits until that is on the disk.
    """

    def __init__(self, directory: Path, below: str = "") -> None:
        self._home = directory
        self._directory = directory / below
        self._is_durable = not below

    async def read(self, digest: bytes, *, max_bytes: int) -> bytes:
        """As `BlobKeeper.read`."""
        return await asyncio.to_thread(self._read, digest, max_bytes)

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:  # noqa: ARG002
        """As `BlobKeeper.put`; `tx` plays no part."""
        await asyncio.to_thread(self._put, digest, content)

    async def kept(self, after: bytes, limit: int) -> Sequence[bytes]:
        """As `BlobKeeper.kept`."""
        return await asyncio.to_thread(lambda: tuple(islice(self._walk(after.hex()), limit)))

    async def discard(self, digest: bytes, older_than: timedelta) -> bool:
        """As `BlobKeeper.discard`."""
        return await asyncio.to_thread(self._discard, digest, older_than)

    def _read(self, digest: bytes, max_bytes: int) -> bytes:
        try:
            with self._path(digest).open("rb") as file:
                content = file.read(max_bytes + 1)
        except FileNotFoundError as error:
            if not self._home.is_dir():
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
            if _made_young(path):
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, content, is_durable=self._is_durable)
        except OSError as error:
            raise BlobStoreAway(f"blob directory: {error.strerror}") from error

    def _walk(self, after: str) -> Iterator[bytes]:
        """Return hashes in order; only folders that may have some beyond `after` are read."""
        if self._home.is_dir() and not self._directory.is_dir():
            return
        try:
            for first in _names(self._directory, 2, after[:2]):
                for second in _names(self._directory / first, 2, after[2:4] * (first == after[:2])):
                    for name in _names(self._directory / first / second, 64, after):
                        if name > after:
                            yield bytes.fromhex(name)
        except OSError as error:
            raise BlobStoreAway(f"blob directory: {error.strerror}") from error

    def _discard(self, digest: bytes, older_than: timedelta) -> bool:
        """Rename the file, check its age, and rename it back if it is young.

        An upload of the same bytes either resets the file's age before that, or finds no file and
        writes a new one: it never relies on a file that is being deleted.
        """
        path = self._path(digest)
        aside = path.with_name(f".old-{path.name}")
        try:
            if not _is_older(path, older_than):
                return False
            path.rename(aside)
            if not _is_older(aside, older_than):
                aside.rename(path)
                return False
            aside.unlink()
        except FileNotFoundError:
            return False  # another pruner was faster
        except OSError as error:
            raise BlobStoreAway(f"blob directory: {error.strerror}") from error
        return True

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._directory / name[:2] / name[2:4] / name


class BucketKeeper:
    """Keeps bytes as objects `ab/cd/abcd…` in a bucket."""

    def __init__(self, store: Any, scheme: str) -> None:
        self._store = store
        self._scheme = scheme

    async def read(self, digest: bytes, *, max_bytes: int) -> bytes:
        """As `BlobKeeper.read`."""
        place = f"{self._scheme}: {digest.hex()}"
        try:
            return await read_object(self._store, _key(digest), place, max_bytes)
        except ImageMissing as error:
            # We may list our own place, so a missing object is 404: 403 is about the credentials.
            if isinstance(error.__cause__, PermissionDeniedError):
                raise store_away(place, error.__cause__) from error
            raise

    async def put(self, digest: bytes, content: bytes, tx: Transaction | None) -> None:  # noqa: ARG002
        """As `BlobKeeper.put`; `tx` plays no part. The same bytes twice are one object."""
        try:
            await self._store.put_async(_key(digest), content)
        except _FAILURES as error:
            raise store_away(self._scheme, error) from error

    async def kept(self, after: bytes, limit: int) -> Sequence[bytes]:
        """As `BlobKeeper.kept`; a bucket lists in the order of the keys."""
        offset, kept = _key(after) if after else None, list[bytes]()
        try:
            async for found in self._store.list(offset=offset, chunk_size=limit):
                paths = [one["path"] for one in found]
                names = (path.rpartition("/")[2] for path in paths if not path.startswith(APART))
                kept += [bytes.fromhex(name) for name in names if HASH.fullmatch(name)]
                if len(kept) >= limit or paths[-1] >= APART:  # behind all hashes
                    break
        except _FAILURES as error:
            raise store_away(self._scheme, error) from error
        return kept[:limit]

    async def discard(self, digest: bytes, older_than: timedelta) -> bool:
        """As `BlobKeeper.discard`. An upload writes the object anew, and so makes it young.

        An upload of the same bytes between check and deletion could be lost, since buckets have no
        common conditional delete. The check is made immediately before.
        """
        try:
            found = await self._store.head_async(_key(digest))
            if found["last_modified"] > datetime.now(UTC) - older_than:
                return False
            await self._store.delete_async(_key(digest))
        except (NotFoundError, FileNotFoundError):
            return False
        except _FAILURES as error:
            raise store_away(self._scheme, error) from error
        return True


def _names(folder: Path, length: int, least: str) -> list[str]:
    """Return names in hex of that length from `least` on, in order."""
    names = [entry.name for entry in folder.iterdir() if HEX.fullmatch(entry.name)]
    return sorted(name for name in names if len(name) == length and name >= least)


def _made_young(path: Path) -> bool:
    """Return whether the file is there; the pruner then leaves it for as long as a new one."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _is_older(path: Path, age: timedelta) -> bool:
    return path.stat().st_mtime < time.time() - age.total_seconds()


def _write_whole(path: Path, content: bytes, *, is_durable: bool) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if not is_durable:
        return
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
