"""Several tagging processes that write into one PostgreSQL at once."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg
import psutil

from benchmarks.harness.archives import Kind
from benchmarks.harness.report import percentile
from benchmarks.harness.writing.photos import BATCH, Share
from benchmarks.harness.writing.waits import Doing, WaitSampler
from benchmarks.harness.writing.writer import APPLICATION, READY, Timed, Told
from core.storage import labels

WRITER = "benchmarks.harness.writing.writer"
START_S = 180.0  # imports, and making the batches, on a busy machine
STOP_S = 10.0
LONG_S = 600.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What several processes did together.

    Attributes:
        seconds: from the first one's start to the last one's end.
        batches: of all of them.
        shares: of the batches' time by what the server saw, 0..1.
        events: the same by PostgreSQL's own words, in looks.
        looks: how many sessions in a transaction were seen in all.
        server_cpu_s: of the sessions that wrote; nan where it cannot be read.
        client_cpu_s: of the processes.
    """

    processes: int
    seconds: float
    batches: Sequence[Timed]
    shares: Mapping[Doing, float]
    events: Counter[str]
    looks: int
    server_cpu_s: float
    client_cpu_s: float

    @property
    def batches_per_s(self) -> float:
        """Return transactions per second."""
        return len(self.batches) / self.seconds

    @property
    def images_per_s(self) -> float:
        """Return images per second."""
        return self.batches_per_s * BATCH

    @property
    def locking(self) -> float:
        """Return the share of batches that changed a best image, and so took the lock, 0..1."""
        return sum(one.waited is not None for one in self.batches) / len(self.batches)

    @property
    def waiting(self) -> float:
        """Return the share of the batches' time spent waiting for it by the processes' clocks."""
        waited = sum(one.waited for one in self.batches if one.waited is not None)
        return waited / sum(one.took for one in self.batches)

    def held_ms(self, share: float) -> float:
        """Return a percentile of how long the lock was held, the commit included."""
        return percentile([one.held for one in self.batches if one.held is not None], share)

    def took_ms(self, share: float) -> float:
        """Return a percentile of a batch's time."""
        return percentile([one.took for one in self.batches], share)


@asynccontextmanager
async def copy_of(url: str, base: str) -> AsyncIterator[str]:
    """Yield the URL of a copy of a database on the same server; nobody may be connected to it."""
    server, _, _ = url.rpartition("/")
    name = f"{base}_copy"
    await _execute(url, f"CREATE DATABASE {name} TEMPLATE {base} STRATEGY file_copy")
    try:
        yield f"{server}/{name}"
    finally:
        # An autovacuum worker may still be in it, which this role may not end: the drop waits.
        await _execute(url, f"DROP DATABASE {name}")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=60)
    try:
        await connection.execute(statement, timeout=LONG_S)
    finally:
        await connection.close()


async def write_together(url: str, kind: Kind, processes: int, batches: int) -> Ran:
    """Have so many processes write `batches` batches in all into a database; return what they did.

    Its tables may hold an archive of this kind; the photos are new.
    """
    await define_labels(url, kind)
    each = max(1, batches // processes)
    told = [Told(url, Share(number, processes, each), kind) for number in range(processes)]
    running = await asyncio.gather(*map(_start, told))
    try:
        pids = [int((await _told(one))[READY]) for one in running]
        sampler, stop = WaitSampler(url, APPLICATION), asyncio.Event()
        sampling = asyncio.create_task(sampler.run(stop))
        before = _cpu_s(pids)
        await _say_go(running)
        ended = await asyncio.gather(*map(_told, running))
        server_cpu_s = _cpu_s(pids) - before
        stop.set()
        await sampling
        await _say_go(running)
    finally:
        await asyncio.gather(*map(_end, running))
    return Ran(
        processes,
        max(one["ended"] for one in ended) - min(one["began"] for one in ended),
        [Timed(**batch) for one in ended for batch in one["batches"]],
        sampler.shares(),
        sampler.events,
        sum(sampler.seen.values()),
        server_cpu_s,
        sum(one["cpu_s"] for one in ended),
    )


async def define_labels(url: str, kind: Kind) -> None:
    """Have the labels of a kind, where they are not there yet."""
    connection = await asyncpg.connect(url, timeout=60)
    try:
        async with connection.transaction():
            await labels.ensure(connection, [f"label {n + 1}" for n in range(kind.labels)])
    finally:
        await connection.close()


async def _start(told: Told) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        WRITER,
        json.dumps(asdict(told)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ,
        limit=2**26,  # its answer is one line
    )


async def _told(process: asyncio.subprocess.Process) -> dict[str, Any]:
    if process.stdout is None:
        raise RuntimeError("a writer has no output")
    async with asyncio.timeout(START_S + LONG_S):
        line = await process.stdout.readline()
    if not line:
        raise SystemExit("a writer ended; its error is above")
    told: dict[str, Any] = json.loads(line)
    return told


async def _say_go(processes: Sequence[asyncio.subprocess.Process]) -> None:
    for process in processes:
        if process.stdin is None:
            raise RuntimeError("a writer has no input")
        process.stdin.write(b"go\n")
        await process.stdin.drain()


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU seconds of server processes; nan where they are on another machine."""
    try:
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)
    except psutil.Error:
        return float("nan")
