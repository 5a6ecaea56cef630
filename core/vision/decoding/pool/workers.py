"""The decoder processes of a pool: those that stay, and those that decode one picture alone."""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import TransientError
from core.vision.decoding import worker_protocol
from core.vision.decoding.limits.deadline import TimeLimit
from core.vision.decoding.worker_process import DecoderProcess, Died, NotStarted, PoolLimits

Answer = tuple[worker_protocol.Head, bytearray]
StartProcess = Callable[[PoolLimits, str], DecoderProcess]
# Ordinary pictures have the processor first: a niceness of 10 has a tenth of what 0 has.
_NICENESS = 10


@dataclass(frozen=True, slots=True)
class Request:
    """What a decoder is asked to do with a picture.

    Attributes:
        head: the operation and its arguments.
        data: the picture.
        max_body: longest answer.
    """

    head: worker_protocol.Head
    data: bytes
    max_body: int


class Workers:
    """The processes that stay: as many as the limits say, each with one picture at a time.

    Args:
        limits: of each process.
        operations: as `DecodePool` names them to its workers.
        start: starts a process.

    Attributes:
        replaced: workers lost to pictures since the start.
    """

    def __init__(
        self, limits: PoolLimits, operations: str, start: StartProcess = DecoderProcess
    ) -> None:
        self._limits = limits
        self._operations = operations
        self._start_process = start
        self._free: deque[DecoderProcess] = deque()
        self._turn = asyncio.Semaphore(limits.workers)
        self._running: set[DecoderProcess] = set()
        self._dying: list[DecoderProcess] = []
        self._closed = False
        self.replaced = 0

    async def open(self) -> None:
        """Start all.

        Raises:
            NotStarted: one does not start.
        """
        for _ in range(self._limits.workers):
            self._free.append(self._start())
        await asyncio.gather(*(each.ready() for each in self._free))

    @property
    def unsealed(self) -> dict[str, str]:
        """Return the locks that this system lacks, each with the reason; known once open."""
        return next(iter(self._running)).unsealed

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process ids of this moment."""
        return tuple(each.pid for each in self._running)

    async def ask(self, request: Request, limit: TimeLimit) -> Answer:
        """Return the answer of the next free worker; if it dies, that of a new one.

        An earlier picture may have corrupted its heap, or the kernel may have needed memory, so the
        present picture need not be the cause. If it is, the second worker dies too.

        Raises:
            TimeoutError: no answer within the limit.
            Died: two workers ended over it.
            TransientError: no worker can be started.
        """
        async with self._turn:
            try:
                return await self._attempt(request, limit)
            except Died:
                return await self._attempt(request, limit)

    async def _attempt(self, request: Request, limit: TimeLimit) -> Answer:
        """Ask one worker; replace it unless it is known to wait for the next picture."""
        try:
            one = self._take()
        except NotStarted as error:
            raise _not_started(error) from error
        reusable = False
        try:
            await one.ready()
            answer = await one.exchange(request.head, request.data, request.max_body, limit)
            reusable = answer[0].get("reason") != "decoder_memory"
        except NotStarted as error:
            raise _not_started(error) from error
        else:
            return answer
        finally:
            self._free.append(one if reusable else self._replaced(one))

    def _take(self) -> DecoderProcess:
        """Return the worker that was used last: after a crash this is the fresh one."""
        if self._closed:
            raise TransientError("the decode pool is closed")
        one = self._free.pop()
        if one.alive:
            return one
        try:
            return self._replace(one)  # killed while idle, or not replaced before
        except NotStarted:
            self._free.append(one)
            raise

    def _replaced(self, lost: DecoderProcess) -> DecoderProcess:
        """Return a new worker; where none can be started the lost one, which is next time."""
        try:
            return self._replace(lost)
        except NotStarted:
            return lost

    def _replace(self, lost: DecoderProcess) -> DecoderProcess:
        """Start a new worker in its place; its start overlaps with other work."""
        lost.kill()
        self._dying = [each for each in (*self._dying, lost) if not each.gone()]
        self._running.discard(lost)
        if self._closed:
            return lost
        self.replaced += 1
        return self._start()

    def _start(self) -> DecoderProcess:
        one = self._start_process(self._limits, self._operations)
        self._running.add(one)
        return one

    async def close(self) -> None:
        """End all."""
        self._closed = True
        await _end(*self._running, *self._dying)
        self._running.clear()
        self._dying.clear()


class SingleUse:
    """Processes that decode one picture each, behind all others, and end.

    So slow pictures never take a worker from ordinary ones, and what a large one needed is free
    again.

    Args:
        limits: of each process.
        operations: as `DecodePool` names them to its workers.
        start: starts a process.
        at_once: how many there are at a time.
    """

    def __init__(
        self,
        limits: PoolLimits,
        operations: str,
        start: StartProcess = DecoderProcess,
        *,
        at_once: int,
    ) -> None:
        self._limits = limits
        self._operations = operations
        self._start_process = start
        self._turn = asyncio.Semaphore(at_once)
        self._running: set[DecoderProcess] = set()
        self._closed = False

    async def ask(self, request: Request, limit: TimeLimit) -> Answer:
        """Return the answer of a new process; if it dies, that of another one.

        Raises:
            TimeoutError, Died, TransientError: as `Workers.ask`.
        """
        async with self._turn:
            try:
                return await self._attempt(request, limit)
            except Died:
                return await self._attempt(request, limit)

    async def _attempt(self, request: Request, limit: TimeLimit) -> Answer:
        if self._closed:
            raise TransientError("the decode pool is closed")
        try:
            one = self._start_process(self._limits, self._operations)
        except NotStarted as error:
            raise _not_started(error) from error
        self._running.add(one)
        try:
            await one.ready()
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, one.pid, _NICENESS)
            return await one.exchange(request.head, request.data, request.max_body, limit)
        except NotStarted as error:
            raise _not_started(error) from error
        finally:
            one.kill()
            await asyncio.shield(self._forget(one))

    async def _forget(self, one: DecoderProcess) -> None:
        await one.end()
        self._running.discard(one)

    async def close(self) -> None:
        """End all."""
        self._closed = True
        await _end(*self._running)
        self._running.clear()


async def _end(*leaving: DecoderProcess) -> None:
    for each in leaving:
        each.kill()
    await asyncio.gather(*(each.end() for each in leaving))


def _not_started(error: NotStarted) -> TransientError:
    return TransientError(f"a decoder process does not start: {error}")
