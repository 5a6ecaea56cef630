"""What an attacker would do from inside of a decoder, as operations for its process.

An attempt is called with what it may aim at, and returns what it got; what it raises is how it was
refused. They are harmless where they succeed: the table of docs/guarantees.md is made of runs with
the locks and without.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.vision.decoding import sealing, seccomp, worker, worker_protocol

_LIBC = ctypes.CDLL(None, use_errno=True)
_PTRACE_SEIZE, _PTRACE_INTERRUPT, _PTRACE_DETACH = 0x4206, 0x4207, 17
_ON_AARCH64 = os.uname().machine == "aarch64"


@dataclass(frozen=True, slots=True)
class Target:
    """What the attempts aim at: things that the test has made.

    Attributes:
        parent: the process that holds the pool.
        other: another process of the same user.
        folder: has a file `secret` and a socket `socket`.
        port: somebody listens there, on loopback.
    """

    parent: int
    other: int
    folder: str
    port: int


Attempt = Callable[[Target], object]


def _system_call(x86_64: int, aarch64: int, *arguments: object) -> int:
    result: int = _LIBC.syscall(aarch64 if _ON_AARCH64 else x86_64, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _connect(family: int, kind: int, address: object) -> str:
    with socket.socket(family, kind) as reached:
        reached.connect(address)  # type: ignore[arg-type]  # a different type for each family
    return "connected"


def _listen(_: Target) -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _fork(_: Target) -> int:
    child = os.fork()
    if not child:
        os._exit(0)
    return os.waitpid(child, 0)[1]


def _start(_: Target) -> int:
    child = os.posix_spawn("/bin/true", ["true"], {})
    return os.waitpid(child, 0)[1]


def _append(target: Target) -> str:
    with Path(target.folder, "secret").open("a"):
        return "opened"


def _read_memory(target: Target) -> int:
    """Read from another process without a descriptor; address 0 is EFAULT for whoever may."""
    there = (ctypes.c_size_t * 2)(0, 1)
    try:
        return _system_call(310, 270, target.other, there, 1, there, 1, 0)
    except OSError as error:
        if error.errno == errno.EFAULT:
            return 0
        raise


def _attach(target: Target) -> int:
    _system_call(101, 117, _PTRACE_SEIZE, target.other, 0, 0)
    _system_call(101, 117, _PTRACE_INTERRUPT, target.other, 0, 0)
    stopped = os.waitpid(target.other, 0)[1]
    # Detached again: a process that is traced waits for its tracer even when it has ended.
    _system_call(101, 117, _PTRACE_DETACH, target.other, 0, 0)
    return stopped


def _run_made_code(_: Target) -> str:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    return "mapped"


def _make_code_runnable(_: Target) -> str:
    page = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    _system_call(10, 226, ctypes.c_void_p(address), ctypes.c_size_t(4096), 7)
    return "made executable"


def _limit_parent(target: Target) -> int:
    now = resource.prlimit(target.other, resource.RLIMIT_CORE)
    return resource.prlimit(target.other, resource.RLIMIT_CORE, now)[0]


def _raise_own_limits(_: Target) -> str:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "raised"


def _ioctl_terminal(_: Target) -> str:
    with Path("/dev/ptmx").open("rb"):
        return "opened"


def _path(target: Target, name: str = "secret") -> Path:
    return Path(target.folder, name)


#: What is tried, in the words of docs/guarantees.md, where each has a row.
ATTEMPTS: Mapping[str, Attempt] = {
    # read
    "read the environment of the role (`/proc/PID/environ`)": lambda to: (
        Path(f"/proc/{to.parent}/environ").read_bytes()[:100].decode("latin-1")
    ),
    "read a file of the archive (`secrets.key`, photos)": lambda to: _path(to).read_text(),
    "list a folder": lambda to: os.listdir(to.folder),  # noqa: PTH208 - as an attacker would
    "ask whether a file exists, its size and times": lambda to: _path(to).stat().st_size,
    "read another process's memory": _read_memory,
    "attach to another process as a debugger": _attach,
    # write
    "make a file": lambda to: _path(to, "made").touch(),
    "append to a file": _append,
    "cut a file": lambda to: os.truncate(_path(to), 6),
    "delete a file": lambda to: _path(to, "victim").unlink(),
    "rename a file": lambda to: _path(to, "moving").rename(_path(to, "moved")),
    "make a link": lambda to: _path(to, "link").symlink_to("/etc"),
    "make a hard link": lambda to: _path(to, "hard").hardlink_to(_path(to)),
    "make a folder": lambda to: _path(to, "folder").mkdir(),
    "change permissions": lambda to: _path(to).chmod(0o600),
    "change times": lambda to: os.utime(_path(to)),
    # reach
    "connect by TCP (database, broker, cloud metadata)": lambda to: _connect(
        socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", to.port)
    ),
    "send by UDP (DNS)": lambda _: _connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 53)),
    "connect to a Unix socket (PostgreSQL, D-Bus, Docker)": lambda to: _connect(
        socket.AF_UNIX, socket.SOCK_STREAM, str(_path(to, "socket"))
    ),
    "listen on a port": _listen,
    "talk to the kernel by netlink": lambda _: socket.socket(socket.AF_NETLINK, 3, 0).close(),
    # start and disturb
    "fork": _fork,
    "start a program": _start,
    "signal another process": lambda to: os.kill(to.parent, 0),
    "signal its process group": lambda _: os.killpg(0, signal.SIGCHLD),
    "change another process's limits": _limit_parent,
    "change another process's priority": lambda to: os.setpriority(
        os.PRIO_PROCESS, to.other, os.getpriority(os.PRIO_PROCESS, to.other)
    ),
    "pin another process to one core": lambda to: os.sched_setaffinity(
        to.other, os.sched_getaffinity(to.other)
    ),
    # run code of its own
    "map memory that can be written and executed": _run_made_code,
    "make written memory executable": _make_code_runnable,
    # the kernel
    "open a device": _ioctl_terminal,
    "make a pipe": lambda _: os.pipe(),
    "make a file in memory (`memfd_create`)": lambda _: _system_call(319, 279, b"x", 0),
    "share memory by System V": lambda _: _system_call(29, 194, 0, ctypes.c_size_t(4096), 0o600),
    "set up `io_uring`": lambda _: _system_call(425, 425, 1, bytes(120)),
    "load a program by `bpf`": lambda _: _system_call(321, 280, 0, bytes(128), 128),
    "open performance counters": lambda _: _system_call(298, 241, bytes(128), 0, -1, -1, 0),
    "handle page faults (`userfaultfd`)": lambda _: _system_call(323, 282, 1),
    "ask the kernel's keyring": lambda _: _system_call(250, 219, 0, -3, 1),
    "make a user namespace": lambda _: _system_call(272, 97, 0x10000000),
    "mount": lambda _: _system_call(165, 40, b"none", b"/mnt", b"none", 0x20, None),
    "raise its own limits": _raise_own_limits,
    # what is left
    "start a thread of its own": lambda _: _run_thread(),
    "use processor time and memory up to the limits": lambda _: len(bytes(1 << 20)),
}

#: What stays possible: decoding needs it.
LEFT = frozenset(list(ATTEMPTS)[-2:])
#: Whether these work without our locks depends on the system's own settings and on who runs it.
UP_TO_THE_SYSTEM = frozenset(
    {
        "read another process's memory",
        "attach to another process as a debugger",
        "change another process's limits",
        "open a device",
        "set up `io_uring`",
        "load a program by `bpf`",
        "open performance counters",
        "handle page faults (`userfaultfd`)",
        "ask the kernel's keyring",
        "make a user namespace",
        "mount",
        "raise its own limits",
    }
)


def _run_thread() -> str:
    ran: list[int] = []
    thread = threading.Thread(target=lambda: ran.append(threading.get_native_id()))
    thread.start()
    thread.join()
    return "ran" if ran != [os.getpid()] else "did not run"


def sealed(job: worker.Job) -> Mapping[str, worker.Operation]:
    """Return the real operations, and the attempts in place of copies that begin with `{`."""
    real = worker.picture_operations(job)
    # What a library keeps for its callbacks, as long as the process lives.
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    at_load = {
        "environment": dict(os.environ),
        "arguments": sys.argv,
        "descriptors": sorted(int(each.name) for each in Path("/proc/self/fd").iterdir()),
    }

    def strip(data: bytes, head: worker_protocol.Head) -> tuple[worker_protocol.Head, bytes]:
        if data == b"at load":
            return {"media_type": "application/json"}, json.dumps(at_load).encode()
        if data == b"write code":
            code[0] = 0xC3
            return {"media_type": "text/plain"}, bytes([code[0]])
        if data.startswith(b"{"):
            return {"media_type": "application/json"}, json.dumps(_try(json.loads(data))).encode()
        return real["strip"](data, head)

    return {**real, "strip": strip}


def unsealed(job: worker.Job) -> Mapping[str, worker.Operation]:
    """Return the same for a process without locks, as decoders were before decision 0026."""

    def nothing(connection: int) -> dict[str, str]:
        return {}

    sealing.seal = nothing
    return sealed(job)


def without_seccomp(job: worker.Job) -> Mapping[str, worker.Operation]:
    """Return the same for a processor of which no system calls are known."""

    def unknown() -> str:
        raise seccomp.NoSuchFilter("no table of system calls for abacus")

    seccomp.machine = unknown
    return sealed(job)


def _try(order: Mapping[str, object]) -> dict[str, str]:
    attempt = ATTEMPTS[str(order["attempt"])]
    target = order["target"]
    if not isinstance(target, dict):
        raise TypeError(target)
    try:
        return {"got": repr(attempt(Target(**target)))[:200]}
    except OSError as error:
        return {"refused": errno.errorcode[error.errno or 0]}
    except ValueError as error:  # a soft limit over the hard one
        return {"refused": str(error)}
