"""Open a path below a directory so that no link, race or special file leads out of it.

Linux 5.6+: one `openat2(2)` with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS.
Elsewhere, and where a sandbox forbids the call: one `openat` with O_NOFOLLOW per component.
"""

import ctypes
import errno
import os
import sys
from functools import cache

_OPENAT2 = 437  # the same number on every architecture (since all calls from 424 on are)
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
# A concurrent rename or mount makes the kernel return EAGAIN (openat2(2), RETURN).
_RACES = 16

# O_NONBLOCK: opening a FIFO must not wait for a writer.
FILE_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
DIRECTORY_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_trusted(path: os.PathLike[str] | str) -> int:
    """Open a directory whose own path is trusted (a root: its links are followed).

    Raises:
        OSError: not there, or no directory.
    """
    return os.open(path, DIRECTORY_FLAGS & ~os.O_NOFOLLOW)


def open_beneath(directory: int, relative: bytes, flags: int) -> int:
    """Open `relative` below `directory`; the caller closes what it gets.

    Raises:
        OSError: not there, or a link or `..` stands in the way (ELOOP, EXDEV, ENOTDIR).
    """
    if has_openat2():
        return open_at_once(directory, relative, flags)
    return open_by_component(directory, relative, flags)


def open_at_once(directory: int, relative: bytes, flags: int) -> int:
    """Open as `open_beneath` does, where the kernel has openat2.

    Raises:
        OSError: as `open_beneath`.
    """
    _refuse_nul(relative)
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    how = _How(flags, 0, resolve)
    libc = _libc()
    for _ in range(_RACES):
        descriptor = int(
            libc.syscall(
                _OPENAT2, directory, relative or b".", ctypes.byref(how), ctypes.sizeof(how)
            )
        )
        if descriptor >= 0:
            return descriptor
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def open_by_component(directory: int, relative: bytes, flags: int) -> int:
    """Open as `open_beneath` does, where the kernel has no openat2: no component may be a link.

    Raises:
        OSError: as `open_beneath`.
    """
    _refuse_nul(relative)
    *parents, last = relative.split(b"/") if relative else [b"."]
    if b".." in parents or last == b"..":
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    current = os.dup(directory)
    try:
        for part in parents:
            below = os.open(part, DIRECTORY_FLAGS, dir_fd=current)
            os.close(current)
            current = below
        return os.open(last, flags | os.O_NOFOLLOW, dir_fd=current)
    finally:
        os.close(current)


@cache
def has_openat2() -> bool:
    """Return whether this kernel and sandbox allow `openat2`. Asked once a process."""
    if sys.platform != "linux":
        return False
    root = open_trusted("/")
    try:
        os.close(open_at_once(root, b".", DIRECTORY_FLAGS))
    except OSError:  # ENOSYS: older kernel; EPERM: a seccomp filter that does not know the call
        return False
    else:
        return True
    finally:
        os.close(root)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _refuse_nul(relative: bytes) -> None:
    if b"\x00" in relative:  # C would read the part before it
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
