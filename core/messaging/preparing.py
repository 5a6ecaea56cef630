"""From records to plans: decode, then the role's `prepare`, again and again while it must wait."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

import structlog

from core.errors import PermanentError, ProcessCrashed, TransientError, UndecodableEvent
from core.failpoints import reach
from core.messaging.liveness import Pulse
from core.messaging.partition_batch import PartitionBatch
from core.messaging.role import Item, Received
from core.messaging.session import RoleParts, Session
from core.messaging.stage_timer import TimeAccount
from core.telemetry import tracing

log = structlog.get_logger(__name__)

E = TypeVar("E")
P = TypeVar("P")

#: Beyond the limit at which the role is told `ProcessCrashed`: telling it did not help either.
BEYOND_THE_ROLE = 2


#: What is made of a record: its item, or the error for which it never reaches the role.
Made: TypeAlias = Item[E, P] | PermanentError

#: A partition batch with what was made of each of its records, in order.
Prepared: TypeAlias = tuple[PartitionBatch, Sequence[Made[E, P]]]


class Preparer(Generic[E, P]):
    """Makes plans of batches."""

    def __init__(self, session: Session, parts: RoleParts[E, P]) -> None:
        self._session = session
        self._parts = parts
        self._span = f"{parts.group} prepare"

    async def prepare(self, batch: Sequence[PartitionBatch]) -> list[Prepared[E, P]] | None:
        """Return what is made of each record, in order; None once the batch has no effect any more.

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
        return _by_partition_batch(batch, _merged(settled, items) if settled else items)

    async def _marked(self, batch: Sequence[PartitionBatch]) -> bool:
        """In isolation, write down which record is at work: a death is blamed on it alone."""
        parts, failures = self._parts, 0
        while self._session.tracker.isolating() and self._session.is_live(batch):
            try:
                # Where the partition stands, which after a gap is not the record's own offset.
                async with parts.database.connection() as connection:
                    await parts.ledger.attempt(
                        connection, parts.owner, batch[0].partition, batch[0].from_offset
                    )
                reach("prepare.attempted")
            except TransientError as error:
                failures += 1
                await self._wait("attempt", error, failures)
            else:
                break
        self._session.wait_for("attempt", None)
        return self._session.is_live(batch)

    def _decoded(
        self, batch: Sequence[PartitionBatch]
    ) -> tuple[dict[int, Made[E, P]], list[Received[E]]]:
        """What never reaches `prepare`, by its place in the batch, and what does, in order."""
        condemned = self._session.tracker.condemned()
        decode = self._parts.decode
        settled: dict[int, Made[E, P]] = {}
        waiting: list[Received[E]] = []
        for partition_batch in batch:
            partition, records = partition_batch.partition, partition_batch.records
            crashes = condemned.get((partition, partition_batch.from_offset), 0)
            if crashes or partition_batch.unreadable:
                settled[len(settled) + len(waiting)] = self._suspect(partition_batch, crashes)
                records = records[1:]
            for offset, timestamp_ms, record in records:
                try:
                    event = decode(record)
                except UndecodableEvent as refusal:
                    settled[len(settled) + len(waiting)] = refusal
                else:
                    waiting.append(Received(event, partition, offset, record, timestamp_ms))
        return settled, waiting

    def _suspect(self, partition_batch: PartitionBatch, crashes: int) -> Made[E, P]:
        """Return what is made of a first record that is unreadable or ended the process often."""
        if partition_batch.unreadable:
            return UndecodableEvent(partition_batch.unreadable, reason="unreadable_record")
        if crashes >= self._session.settings.crash_reject_after + BEYOND_THE_ROLE:
            return _crashed(crashes)
        offset, timestamp_ms, record = partition_batch.records[0]
        try:
            event = self._parts.decode(record)
        except UndecodableEvent as refusal:
            return refusal
        return Item(
            Received(event, partition_batch.partition, offset, record, timestamp_ms),
            _crashed(crashes),
        )

    async def _planned(
        self, batch: Sequence[PartitionBatch], received: Sequence[Received[E]]
    ) -> Sequence[Item[E, P]] | None:
        failures, pulse = 0, Pulse(self._session.report_progress)
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


def _merged(settled: Mapping[int, Made[E, P]], items: Sequence[Item[E, P]]) -> list[Made[E, P]]:
    """All in the order of their records: `settled` says which stand where."""
    planned = iter(items)
    return [settled.get(index) or next(planned) for index in range(len(settled) + len(items))]


def _by_partition_batch(
    batch: Iterable[PartitionBatch], made: Sequence[Made[E, P]]
) -> list[Prepared[E, P]]:
    prepared: list[Prepared[E, P]] = []
    start = 0
    for partition_batch in batch:
        prepared.append((partition_batch, made[start : start + len(partition_batch)]))
        start += len(partition_batch)
    return prepared


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
            self._begin(await self._next(), tasks)

    def _begin(self, batch: list[PartitionBatch], tasks: asyncio.TaskGroup) -> None:
        # A method of its own: `run` would hold the batch until the next one is there.
        self._session.metrics.consumer_batch_records.labels(self._session.group).observe(
            sum(map(len, batch))
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

    async def _next(self) -> list[PartitionBatch]:
        session = self._session
        while True:
            session.arrived.clear()
            batch = session.take()
            if batch:
                return batch
            self._account.enter("idle")
            await session.arrived.wait()

    async def _prepare(self, batch: list[PartitionBatch]) -> list[Prepared[E, P]] | None:
        try:
            return await self._preparer.prepare(batch)
        finally:
            self._workers.release()
