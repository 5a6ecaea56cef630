"""Photos' bytes of a backup: files named by their SHA-256, which is looked at on both ways."""

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from core.blobs.keepers import DirectoryKeeper, keeper_of
from core.blobs.store import BlobKeeper
from core.errors import ConfigurationError, ImageMissing
from core.settings import ArchiveSettings

_AT_ONCE = 1000
#: No photo that was taken in is larger. A file is read into as much address space as this.
_MOST_BYTES = 2**30


def are_rows(url: str) -> bool:
    """Return whether PostgreSQL keeps the bytes."""
    return url.partition(":")[0] == "pg"


async def copy_out(
    archive: ArchiveSettings, folder: Path, progressed: Callable[[int], None]
) -> tuple[int, int]:
    """Copy all kept bytes into a folder that is there; return how many photos and bytes.

    What goes meanwhile is left out: its last image was deleted since the moment of the backup.

    Raises:
        BlobStoreAway: the place of the bytes is away.
        ConfigurationError: what is kept under a hash is something else.
    """
    source, target = _keeper(archive.blobs), DirectoryKeeper(folder)
    count = size = 0
    async for digest in _hashes(source):
        try:
            content = await source.read(digest, max_bytes=_MOST_BYTES)
        except ImageMissing:
            continue
        _check(digest, content, archive.blobs)
        await target.put(digest, content, None)
        count, size = count + 1, size + len(content)
        progressed(size)
    return count, size


async def copy_in(folder: Path, archive: ArchiveSettings, progressed: Callable[[int], None]) -> int:
    """Put the bytes of a backup where the archive keeps them; return how many photos.

    What is there already stays: its name is its hash.

    Raises:
        BlobStoreAway: the place of the bytes is away.
        ConfigurationError: a file of the backup is damaged.
    """
    source, target = DirectoryKeeper(folder), _keeper(archive.blobs)
    count = size = 0
    async for digest in _hashes(source):
        content = await source.read(digest, max_bytes=_MOST_BYTES)
        _check(digest, content, str(folder))
        await target.put(digest, content, None)
        count, size = count + 1, size + len(content)
        progressed(size)
    return count


async def check_all(folder: Path, written: int | None) -> None:
    """Read every photo of a backup.

    Args:
        folder: of the photos' bytes.
        written: how many there were; None: they are elsewhere.

    Raises:
        ConfigurationError: one is damaged or missing.
    """
    if written is None:
        return
    source, count = DirectoryKeeper(folder), 0
    async for digest in _hashes(source):
        _check(digest, await source.read(digest, max_bytes=_MOST_BYTES), str(folder))
        count += 1
    check_count(folder, count, written)


def check_count(folder: Path, found: int, written: int) -> None:
    """Raise unless as many photos were found as were written.

    Raises:
        ConfigurationError: some are missing, or too many.
    """
    if found != written:
        raise ConfigurationError(
            f"{folder}: {found} photos, and {written} were written: the backup is damaged"
        )


def _keeper(url: str) -> BlobKeeper:
    if url.startswith("file:"):  # as a role does at its start, where it is missing
        Path(url.removeprefix("file:")).mkdir(mode=0o700, parents=True, exist_ok=True)
    return keeper_of(url, DirectoryKeeper(Path()))  # never used: rows are in the database's part


async def _hashes(keeper: BlobKeeper) -> AsyncIterator[bytes]:
    after = b""
    while found := await keeper.kept(after, _AT_ONCE):
        for digest in found:
            yield digest
        after = found[-1]


def _check(digest: bytes, content: bytes, where: str) -> None:
    if hashlib.sha256(content).digest() != digest:
        raise ConfigurationError(
            f"{where}: what is kept as {digest.hex()} has another hash: it is damaged"
        )
