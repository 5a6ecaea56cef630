"""Files under the allowed roots, read so that nothing outside of them can be reached.

Blocking: call it through `asyncio.to_thread`. A missing file and a forbidden one give the same
error, so that nobody can ask what lies outside.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from core.blobs.naming import RootedPath, is_safe, parse_file_uri
from core.blobs.opening import DIRECTORY_FLAGS, FILE_FLAGS, open_beneath, open_trusted
from core.errors import BlobStoreAway, ImageMissing, ImageUnreadable, PermanentError

# Errors of a path, unlike errors of the file system or of this process.
_NOT_THERE = frozenset(
    {
        errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EACCES, errno.EPERM,
        errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.EMLINK,
    }
)  # fmt: skip
_AWAY = frozenset(
    {
        errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH,
        errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR,
    }
)  # fmt: skip
_READ_BYTES = 1024 * 1024
_READS = 3  # a file that changes during the third read is being written


@dataclass(frozen=True, slots=True)
class Signature:
    """The attributes by which a file counts as unchanged without being read.

    Attributes:
        ctime_ns: when bytes, name or rights last changed, by the file system's clock; not compared.
        device: of the directory the file is in (overlay file systems give files another one); not
            compared, since a device's number may change when the machine starts.
    """

    size_bytes: int
    mtime_ns: int
    inode: int
    ctime_ns: int = field(default=0, compare=False)
    device: int = field(default=0, compare=False)


class Roots:
    """The allowed roots of this process, by name.

    Args:
        paths: root name -> absolute path (`ArchiveSettings.root_paths()`).
        open_below: how a path below a descriptor is opened.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        open_below: Callable[[int, bytes, int], int] = open_beneath,
    ) -> None:
        self._paths = dict(paths)
        self._open_below = open_below

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the roots, in order."""
        return tuple(self._paths)

    def path_of(self, root: str) -> Path:
        """Return the root's path on this host.

        Raises:
            ImageMissing: no root of this name.
        """
        try:
            return self._paths[root]
        except KeyError:
            raise ImageMissing(
                f"file:{root}/…: this process knows no root {root!r}; ARCHIVE_ROOTS names those"
                " that it may read"
            ) from None

    def place_of(self, path: Path) -> RootedPath | None:
        """Return the place of a path of this host, or None where it is under no root.

        The deepest root wins. Links on the way are resolved first, so that a file has one name.
        """
        wanted = path.resolve()
        found = [
            (len(root.parts), name, root)
            for name, root in ((name, root.resolve()) for name, root in self._paths.items())
            if wanted.is_relative_to(root)
        ]
        if not found:
            return None
        _, name, root = max(found)
        relative = os.fsencode(wanted.relative_to(root))
        return RootedPath(name, b"" if relative == b"." else relative)

    def place_below(self, path: str) -> RootedPath | None:
        """Return the place of a stranger's absolute path, or None where it is under no root.

        Read by its letters alone: neither a link nor `..` is followed, so that the answer tells
        nothing of what lies outside. Only the roots themselves are resolved.
        """
        wanted = PurePath(path)
        if ".." in wanted.parts:
            return None
        found = [
            (len(root.parts), name, root)
            for name, configured in self._paths.items()
            for root in (configured, configured.resolve())
            if wanted.is_relative_to(root)
        ]
        if not found:
            return None
        _, name, root = max(found)
        relative = os.fsencode(wanted.relative_to(root))
        return RootedPath(name, b"" if relative == b"." else relative)

    def read_uri(self, uri: str, *, max_bytes: int) -> bytes:
        """Return the bytes of the file that a `file:` URI names.

        Raises:
            ImageMissing, ImageUnreadable, BlobStoreAway: as `read`.
        """
        return self.read(parse_file_uri(uri), max_bytes=max_bytes)[0]

    def read(self, place: RootedPath, *, max_bytes: int) -> tuple[bytes, Signature]:
        """Return the file's bytes and the signature that they belong to.

        Raises:
            ImageMissing: no regular file there, or it may not be read.
            ImageUnreadable: (`image_too_large`, `image_changing`) over the limit, or written
                while being read.
            BlobStoreAway: the root is not there (unmounted), or the file system fails.
        """
        with self._opened_file(place) as descriptor:
            for _ in range(_READS):
                before = _signature(descriptor, place)
                content = b"".join(_pieces(descriptor, before.size_bytes, max_bytes, place))
                if _signature(descriptor, place) == before and len(content) == before.size_bytes:
                    return content, before
                os.lseek(descriptor, 0, os.SEEK_SET)
        raise ImageUnreadable(f"{place.uri} is being written", reason="image_changing")

    def look(self, place: RootedPath) -> Signature:
        """Return the file's signature, without reading it.

        Raises:
            ImageMissing: no regular file there, or it may not be read.
            BlobStoreAway: the root is not there (unmounted), or the file system fails.
        """
        parent, _, name = place.relative.rpartition(b"/")
        with self.opened_directory(RootedPath(place.root, parent)) as directory, translated(place):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise _not_there(place)
            return signature_of(found, os.fstat(directory).st_dev)

    def is_directory(self, place: RootedPath) -> bool:
        """Return whether a directory is there, reachable without following a link.

        Raises:
            BlobStoreAway: the root is not there, or the file system fails.
        """
        try:
            with self.opened_directory(place):
                return True
        except PermanentError:
            return False

    def digest(self, place: RootedPath, *, max_bytes: int) -> tuple[bytes, Signature]:
        """Return the SHA-256 of the file's bytes, and their signature; reads piece by piece.

        Raises:
            ImageMissing, ImageUnreadable, BlobStoreAway: as `read`; `image_changing` at once.
        """
        sha256 = hashlib.sha256()
        with self._opened_file(place) as descriptor:
            before = _signature(descriptor, place)
            for piece in _pieces(descriptor, before.size_bytes, max_bytes, place):
                sha256.update(piece)
            if _signature(descriptor, place) != before:
                raise ImageUnreadable(f"{place.uri} is being written", reason="image_changing")
        return sha256.digest(), before

    def gone_from(self, place: RootedPath) -> int | None:
        """Return the device of the nearest directory above a missing file; None: maybe there.

        Only "no such file" counts as missing, not an unreadable file or one whose root is away. If
        the device is not the one that the file was on, the disk may be unmounted.
        """
        try:
            self.look(place)
        except (BlobStoreAway, PermanentError) as error:
            return self._nearest_device(place) if _is_absent(error) else None
        return None

    def _nearest_device(self, place: RootedPath) -> int | None:
        parent = place.relative
        while parent:
            parent = parent.rpartition(b"/")[0]
            try:
                with self.opened_directory(RootedPath(place.root, parent)) as directory:
                    return os.fstat(directory).st_dev
            except (BlobStoreAway, PermanentError) as error:
                if not _is_absent(error):
                    return None
        return None

    @contextmanager
    def opened_directory(self, place: RootedPath) -> Iterator[int]:
        """Return a descriptor of the directory at `place`.

        Raises:
            ImageMissing: no such directory, or not without following a link.
            BlobStoreAway: the root is not there, or the file system fails.
        """
        with self._opened(place, DIRECTORY_FLAGS) as descriptor:
            yield descriptor

    @contextmanager
    def _opened_file(self, place: RootedPath) -> Iterator[int]:
        with self._opened(place, FILE_FLAGS) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _not_there(place)
            yield descriptor

    @contextmanager
    def _opened(self, place: RootedPath, flags: int) -> Iterator[int]:
        root = self.path_of(place.root)
        if place.relative and not is_safe(place.relative):
            raise _not_there(place)
        with _opened_root(place.root, root) as directory, translated(place):
            descriptor = self._open_below(directory, place.relative, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def signature_of(found: os.stat_result, device: int) -> Signature:
    """Return the signature in a stat result of a file in a directory on `device`."""
    return Signature(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns, device)


@contextmanager
def _opened_root(name: str, path: Path) -> Iterator[int]:
    # A missing root is an outage (an unmounted disk), not a thousand missing photos.
    try:
        descriptor = open_trusted(path)
    except OSError as error:
        raise BlobStoreAway(f"root {name!r} cannot be opened: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def translated(place: RootedPath) -> Iterator[None]:
    """Translate what the file system raises about a place into the project's errors.

    Raises:
        ImageMissing: missing, or not allowed: both get the same error.
        ImageUnreadable: (`read_failed`) a bad sector and the like.
        BlobStoreAway: the file system is away, or this process is out of means.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise _not_there(place) from error
        if error.errno in _AWAY:
            raise BlobStoreAway(f"{place.uri}: {error.strerror}") from error
        # EIO and the like: a bad sector must cost one photo, not the partition behind it.
        raise ImageUnreadable(f"{place.uri}: {error.strerror}", reason="read_failed") from error


def _not_there(place: RootedPath) -> ImageMissing:
    return ImageMissing(f"{place.uri}: no such file under the allowed roots")


def _signature(descriptor: int, place: RootedPath) -> Signature:
    with translated(place):
        return signature_of(os.fstat(descriptor), 0)


def _is_absent(error: Exception) -> bool:
    cause = error.__cause__
    return isinstance(error, ImageMissing) and isinstance(
        cause, FileNotFoundError | NotADirectoryError
    )


def _pieces(descriptor: int, size: int, max_bytes: int, place: RootedPath) -> Iterator[bytes]:
    total = size if size > max_bytes else 0
    with translated(place):
        while total <= max_bytes and (piece := os.read(descriptor, _READ_BYTES)):
            total += len(piece)
            yield piece
    if total > max_bytes:
        raise ImageUnreadable(
            f"{place.uri} has {total} bytes or more, the limit is {max_bytes}",
            reason="image_too_large",
        )
