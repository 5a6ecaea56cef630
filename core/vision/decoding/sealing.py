"""Closing a decoder process: what decoding does not need, a taken-over decoder shall not have.

Each lock is set by itself, and one that the system lacks does not keep the others from holding
(docs/decisions/0026-sealed-decoders.md). All of them are for ever.
"""

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from core.vision.decoding import seccomp

_PR_SET_DUMPABLE = 4
_PROT_READ, _PROT_EXEC = 1, 4

_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # on every processor
_LANDLOCK_VERSION = 1
# Versions from which more can be forbidden: linux/landlock.h, and landlock(7).
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_TCP, _TCP_SINCE = 0b11, 4
_SCOPES, _SCOPES_SINCE = 0b11, 6  # abstract sockets, signals

_CAPABILITY_VERSION = 0x20080522


def seal(connection: int) -> dict[str, str]:
    """Close this process, but for its memory and one socket; return what could not be, and why.

    Call it when all libraries are loaded, and on the only thread. `no_new_privs` must be set.
    """
    if sys.platform != "linux":
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # on Linux it would count threads too
        return {"sandbox": f"none on {sys.platform}: no new descriptors and processes, no more"}
    missing: dict[str, str] = {}
    for name, close in _locks(connection).items():
        try:
            close()
        except (OSError, ValueError, AttributeError, seccomp.NoSuchFilter) as error:
            missing[name] = str(error) or type(error).__name__
    return missing


def conceal() -> None:
    """Hide this process's memory and environment from others of its user, where Linux can.

    It leaves no core dump then, and only root can attach a debugger. Does nothing elsewhere.
    """
    if sys.platform == "linux":
        _checked(_libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def _locks(connection: int) -> dict[str, Callable[[], None]]:
    """Return the locks in the order in which they must be set."""
    return {
        "concealment": conceal,
        "code": _close_writable_code,  # reads a file
        "landlock": _forbid_files_and_network,  # opens a descriptor itself
        "descriptors": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0)),
        "capabilities": _drop_capabilities,
        "seccomp": lambda: _forbid_system_calls(connection),  # forbids all of the above
    }


def _close_writable_code() -> None:
    """Make code that can be written read-only: ctypes keeps its callbacks in such memory."""
    libc = _libc()
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if rights.startswith("rwx"):
            start, end = (int(each, 16) for each in span.split("-"))
            size = ctypes.c_size_t(end - start)
            _checked(libc.mprotect(ctypes.c_void_p(start), size, _PROT_READ | _PROT_EXEC))


def _forbid_files_and_network() -> None:
    """Forbid every path, TCP, and sockets and signals to processes outside, by Landlock."""
    libc = _libc()
    version = _checked(libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION))
    files = max(bits for since, bits in _FILE_RIGHTS.items() if since <= version)
    # No rules follow, so whatever is handled is forbidden. Older kernels take the longer structure
    # as long as what they do not know is zero.
    handled = struct.pack(
        "=QQQ",
        (1 << files) - 1,
        _TCP if version >= _TCP_SINCE else 0,
        _SCOPES if version >= _SCOPES_SINCE else 0,
    )
    rules = _checked(libc.syscall(_LANDLOCK_CREATE_RULESET, handled, len(handled), 0))
    try:
        _checked(libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _drop_capabilities() -> None:
    """Drop what root may do beyond others; it is fine to have nothing of it."""
    header = struct.pack("=II", _CAPABILITY_VERSION, 0)
    _checked(_libc().capset(header, bytes(24)))


def _forbid_system_calls(connection: int) -> None:
    name = seccomp.machine()
    seccomp.install(name, seccomp.program(name, connection=connection, process=os.getpid()))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
