"""From records to plans: decode, then the role's `prepare`, again and again while it must wait."""

import asyncio
from collections.abc import Sequence
from typing import Generic, TypeAlias, TypeVar

import structlog

from core.errors import PermanentError, ProcessCrashed, TransientError, UndecodableEvent
from core.failpoints import reach
from core.messaging.accounting import TimeAccount
from core.messaging.pulse import Pulse
from core.messaging.role import Item, Received
from core.messaging.session import RoleParts, Session
from core.messaging.tracking import Entry
from core.telemetry import tracing

log = structlog.get_logger(__name__)

E = TypeVar("E")
P = TypeVar("P")

#: Beyond the limit at which the role is told `ProcessCrashed`: telling it did not help either.
BEYOND_THE_ROLE = 2


#: An entry with its item, or with the error for which it never reaches the role.
Prepared: TypeAlias = tuple[Entry, Item[E, P] | PermanentError]


class Preparer(Generic[E, P]):
    """Makes plans of batches."""

    def __init__(self, session: Session, parts: RoleParts[E, P]) -> None:
        self._session = session
        self._parts = parts
        self._span = f"{parts.group} prepare"

    async def prepare(self, batch: Sequence[Entry]) -> list[Prepared[E, P]] | None:
        """Give one result per entry, in order; None once the batch has no effect any more.

        Raises:
            Exception: whatever the role raises beside TransientError: a bug, ends the process.
        """
        reach("prepare.begun")
        if not await self._marked(batch):
            return None
        settled, waiting = self._decoded(batch)
        items = await self._planned(batch, waiting) if waiting else ()
        self._session.wait_for("prepare", None)
        if items is None:
            return None
        reach("prepare.done")
        if not settled:
            return list(zip(batch, items, strict=True))
        planned = iter(items)
        return [(entry, settled.get(index) or next(planned)) for index, entry in enumerate(batch)]

    async def _marked(self, batch: Sequence[Entry]) -> bool:
        """In isolation, write down which record is at work: a death is blamed on it alone."""
        failures = 0
        while self._session.tracker.isolating() and self._session.is_live(batch):
            try:
                # Where the partition stands, which after a gap is not the record's own offset.
                await self._parts.ledger.attempt(batch[0].partition, batch[0].from_offset)
                reach("prepare.attempted")
            except TransientError as error:
                failures += 1
                await self._wait("attempt", error, failures)
            else:
                break
        self._session.wait_for("attempt", None)
        return self._session.is_live(batch)

    def _decoded(
        self, batch: Sequence[Entry]
    ) -> tuple[dict[int, Item[E, P] | PermanentError], list[Received[E]]]:
        """What never reaches `prepare`, by index, and the events that do, in order."""
        condemned = self._session.tracker.condemned()
        settled: dict[int, Item[E, P] | PermanentError] = {}
        waiting: list[Received[E]] = []
        for index, entry in enumerate(batch):
            if entry.unreadable:
                settled[index] = UndecodableEvent(entry.unreadable, reason="unreadable_record")
                continue
            crashes = condemned.get((entry.partition, entry.from_offset), 0) if condemned else 0
            if crashes >= self._session.settings.crash_reject_after + BEYOND_THE_ROLE:
                settled[index] = _crashed(crashes)
                continue
            try:
                event = self._parts.decode(entry.record)
            except UndecodableEvent as refusal:
                settled[index] = refusal
                continue
            received = Received(
                event, entry.partition, entry.offset, entry.record, entry.timestamp_ms
            )
            if crashes:
                settled[index] = Item(received, _crashed(crashes))
            else:
                waiting.append(received)
        return settled, waiting

    async def _planned(
        self, batch: Sequence[Entry], received: Sequence[Received[E]]
    ) -> Sequence[Item[E, P]] | None:
        failures, pulse = 0, Pulse(self._session.beat)
        while self._session.is_live(batch):
            try:
                with (
                    tracing.consuming(self._span, (one.traceparent for one in received)),
                    pulse.trying(),
                ):
                    items = await self._parts.role.prepare(received)
            except TransientError as error:
                failures += 1
                await self._wait("prepare", error, failures)
                continue
            if len(items) != len(received):
                raise RuntimeError(f"prepare gave {len(items)} items for {len(received)} records")
            return items
        return None

    async def _wait(self, stage: str, error: TransientError, failures: int) -> None:
        session = self._session
        session.metrics.consumer_retries.labels(session.group, stage).inc()
        session.wait_for(stage, error)
        log.warning("waiting", stage=stage, error=str(error), failures=failures)
        await asyncio.sleep(self._parts.backoff.delay_s(failures, session.random))


def _crashed(crashes: int) -> ProcessCrashed:
    return ProcessCrashed(f"the process ended {crashes} times while this record was at work")


class Pipeline(Generic[E, P]):
    """Prepares batches ahead of the committer: `depth` in all, plans handed over in order.

    A batch is formed as late as possible, when a place in the pipeline and the role are free, so
    that under load batches are full and without load nothing waits.
    """

    def __init__(self, session: Session, preparer: Preparer[E, P]) -> None:
        depth = session.settings.pipeline_depth
        self._session = session
        self._preparer = preparer
        self._places = asyncio.Semaphore(depth)
        self._workers = asyncio.Semaphore(max(1, depth - 1))
        self._account = TimeAccount(session.metrics, group=session.group, task="prepare")
        self._running: set[asyncio.Task[list[Prepared[E, P]] | None]] = set()
        self.ordered: asyncio.Queue[asyncio.Task[list[Prepared[E, P]] | None]] = asyncio.Queue()

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Form batches and prepare them in `tasks`, for ever."""
        while True:
            self._account.enter("committer")
            await self._places.acquire()
            self._account.enter("prepare")
            await self._workers.acquire()
            batch = await self._next()
            self._session.metrics.consumer_batch_records.labels(self._session.group).observe(
                len(batch)
            )
            task = tasks.create_task(self._prepare(batch), name="prepare")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            self.ordered.put_nowait(task)

    def pending(self) -> frozenset[asyncio.Task[list[Prepared[E, P]] | None]]:
        """What is being prepared now."""
        return frozenset(self._running)

    def release(self) -> None:
        """The committer is done with a batch."""
        self._session.finished()
        self._places.release()

    async def _next(self) -> list[Entry]:
        session = self._session
        while True:
            session.arrived.clear()
            batch = session.take()
            if batch:
                return batch
            self._account.enter("idle")
            await session.arrived.wait()

    async def _prepare(self, batch: list[Entry]) -> list[Prepared[E, P]] | None:
        try:
            return await self._preparer.prepare(batch)
        finally:
            self._workers.release()
