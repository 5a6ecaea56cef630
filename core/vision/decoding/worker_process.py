"""One decoder process and the socket to it, as the parent sees them."""

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from core.settings import MIB
from core.vision.decoding import sniff, worker, worker_protocol
from core.vision.decoding.limits import share
from core.vision.decoding.limits.deadline import TimeLimit, cpu_seconds, within

_END_TIMEOUT_S = 2.0
# A killed process gives its memory back in its own processor time: 2 GiB behind all others, with a
# niceness of 10, take seconds on a busy machine.
_KILLED_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The limits of the pool.

    Attributes:
        workers: processes, and thereby pictures decoded at once.
        timeout_s: time for one picture.
        memory_bytes: address space of a worker that decodes a large picture alone.
        max_image_bytes: larger files are refused unread.
        start_timeout_s: from starting a process to its first readiness.
        picture: pixel and side limits of a source.
    """

    workers: int = 2
    timeout_s: float = 30.0
    memory_bytes: int = 2048 * MIB
    max_image_bytes: int = 64 * MIB
    start_timeout_s: float = 30.0
    picture: sniff.Limits = sniff.Limits()  # noqa: RUF009 - a frozen value

    @property
    def ordinary_bytes(self) -> int:
        """Return the address space of an ordinary worker; only one at a time may have more."""
        return min(self.memory_bytes, share.ORDINARY_BYTES + share.MAPPED_BYTES)

    @property
    def apart(self) -> int:
        """Return how many slow pictures are decoded at once, beside the ordinary ones."""
        return max(1, self.workers // 2)


class Died(Exception):
    """The worker ended instead of answering; `status` is its return code."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class NotStarted(Exception):
    """The worker could not start; the message says why."""


class DecoderProcess:
    """One process and the socket to it. Not for use by two tasks at once.

    Raises:
        NotStarted: the system gives no process or no descriptor.
    """

    def __init__(self, limits: PoolLimits, operations: str) -> None:
        self._limits = limits
        self._ready = False
        #: Locks that this system lacks, each with the reason; known when it is ready.
        self.unsealed: dict[str, str] = {}
        try:
            self._socket, self._process = _started(json.dumps(asdict(_job(limits, operations))))
        except OSError as error:
            raise NotStarted(str(error)) from error

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    async def ready(self) -> None:
        """Wait until the libraries are loaded.

        Raises:
            NotStarted: it ended, failed or took too long.
        """
        if self._ready:
            return
        try:
            async with asyncio.timeout(self._limits.start_timeout_s):
                head, _ = await self._receive(0)
        except (worker_protocol.WireBroken, OSError) as error:
            raise NotStarted(f"exit status {await self.end()}") from error
        except TimeoutError as error:
            raise NotStarted(f"not ready within {self._limits.start_timeout_s} s") from error
        if "ready" not in head:
            raise NotStarted(str(head.get("failed")))
        self.unsealed = dict(head["unsealed"])  # it has not met a picture yet
        self._ready = True

    async def exchange(
        self, head: worker_protocol.Head, data: bytes, max_body: int, limit: TimeLimit
    ) -> tuple[worker_protocol.Head, bytearray]:
        """Send a picture; return the answer.

        Raises:
            TimeoutError: no answer within the limit; the worker still works on it.
            Died: the process ended.
        """
        loop = asyncio.get_running_loop()
        try:
            async with within(limit, partial(cpu_seconds, self.pid)):
                await loop.sock_sendall(self._socket, worker_protocol.pack(head, len(data)))
                await loop.sock_sendall(self._socket, data)
                return await self._receive(max_body)
        except (worker_protocol.WireBroken, ConnectionError) as error:
            raise Died(await self.end()) from error

    async def _receive(self, max_body: int) -> tuple[worker_protocol.Head, bytearray]:
        head_bytes, body_bytes = worker_protocol.unpack_prefix(
            await self._exactly(worker_protocol.PREFIX.size), max_body
        )
        head = worker_protocol.unpack_head(await self._exactly(head_bytes))
        return head, await self._exactly(body_bytes)

    async def _exactly(self, size: int) -> bytearray:
        loop = asyncio.get_running_loop()
        data = bytearray(size)
        rest = memoryview(data)
        while rest:
            count = await loop.sock_recv_into(self._socket, rest)
            if not count:
                raise worker_protocol.WireBroken("the worker closed")
            rest = rest[count:]
        return data

    @property
    def alive(self) -> bool:
        """Return whether it still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once. Safe at any time: the process is ours until it is waited for."""
        self._process.kill()

    def gone(self) -> bool:
        """Return whether a killed worker has ended; its exit status is then taken."""
        if self._process.poll() is None:
            return False
        self._socket.close()
        return True

    async def end(self) -> int:
        """Wait for its end, or bring it about, and return the return code; for a while only."""
        # A process that has just closed its socket is about to end, and its signal says why.
        try:
            return await asyncio.to_thread(self._process.wait, _END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return await self._killed()
        finally:
            self._socket.close()

    async def _killed(self) -> int:
        try:
            return await asyncio.to_thread(self._process.wait, _KILLED_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # the kernel ends it when it can
            return -signal.SIGKILL


def _started(job: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Return our end of the socket, and the process that has the other one.

    Raises:
        OSError: the system gives no process or no descriptor.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        try:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "core.vision.decoding.worker",
                    str(theirs.fileno()),
                    job,
                ],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libtiff writes a line per broken tag
                env=_environment(),
            )
        except BaseException:
            ours.close()
            raise
    return ours, process


def _job(limits: PoolLimits, operations: str) -> worker.Job:
    return worker.Job(
        memory_bytes=limits.memory_bytes,
        cpu_s=math.ceil(limits.timeout_s),
        parent=os.getpid(),
        max_image_bytes=limits.max_image_bytes,
        max_pixels=limits.picture.max_pixels,
        max_side=limits.picture.max_side,
        operations=operations,
    )


def _environment() -> dict[str, str]:
    """Return the environment of a worker, without our variables, which hold passwords."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "LC_ALL": "C.UTF-8",
        "MALLOC_ARENA_MAX": "1",  # one thread decodes; further arenas only reserve address space
        # Pixels of large pictures go back to the system at once; by default the threshold grows to
        # the largest block freed, and the next picture comes on top of what the last one left.
        "MALLOC_MMAP_THRESHOLD_": str(8 * MIB),
    }


def ending(status: int) -> str:
    """Return the name of the signal, or the exit status, that ended a process."""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"exit status {status}"
