"""Batches that are prepared ahead of the committer."""

import asyncio
import time
from typing import Generic, NamedTuple, TypeVar

from core.messaging.batching import PartitionBatch
from core.messaging.preparing import Prepared, Preparer
from core.messaging.session import Session
from core.messaging.spans import Times
from core.messaging.watching.stage_timer import TimeAccount

E = TypeVar("E")
P = TypeVar("P")


class Ready(NamedTuple, Generic[E, P]):
    """A prepared batch: what each of its records became, and when it was prepared."""

    parts: list[Prepared[E, P]]
    times: Times


class Pipeline(Generic[E, P]):
    """Prepares batches ahead of the committer, at most `depth` at a time, and keeps their order.

    A batch is formed as late as possible, when both a place in the pipeline and the role are free:
    under load batches are full, and without load nothing waits.
    """

    def __init__(self, session: Session, preparer: Preparer[E, P]) -> None:
        depth = session.limits.pipeline_depth
        self._session = session
        self._preparer = preparer
        self._places = asyncio.Semaphore(depth)
        self._workers = asyncio.Semaphore(max(1, depth - 1))
        self._account = TimeAccount(session.metrics, group=session.group, task="prepare")
        self._running: set[asyncio.Task[Ready[E, P] | None]] = set()
        self.ordered: asyncio.Queue[asyncio.Task[Ready[E, P] | None]] = asyncio.Queue()

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Form batches and prepare them in `tasks`, until cancelled."""
        while True:
            self._account.enter("committer")
            await self._places.acquire()
            self._account.enter("prepare")
            await self._workers.acquire()
            self._begin(await self._next(), tasks)

    def _begin(self, batch: list[PartitionBatch], tasks: asyncio.TaskGroup) -> None:
        # A method of its own, since a local variable of `run` would keep the batch in memory until
        # the next one is formed.
        self._session.metrics.consumer_batch_records.labels(self._session.group).observe(
            sum(map(len, batch))
        )
        task = tasks.create_task(self._prepare(batch), name="prepare")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        self.ordered.put_nowait(task)

    def pending(self) -> frozenset[asyncio.Task[Ready[E, P] | None]]:
        """Return the batches that are being prepared now."""
        return frozenset(self._running)

    def release(self) -> None:
        """Free the place of a batch that the committer is done with."""
        self._session.finished()
        self._places.release()

    async def _next(self) -> list[PartitionBatch]:
        session = self._session
        while True:
            session.arrived.clear()
            batch = session.take()
            if batch:
                return batch
            self._account.enter("idle")
            await session.arrived.wait()

    async def _prepare(self, batch: list[PartitionBatch]) -> Ready[E, P] | None:
        from_ns = time.time_ns()
        try:
            parts = await self._preparer.prepare(batch)
            return None if parts is None else Ready(parts, Times(from_ns, time.time_ns()))
        finally:
            self._workers.release()
