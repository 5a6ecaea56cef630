"""From records to plans: decode them, then call the role's `prepare` until it succeeds."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

import structlog

from core.errors import PermanentError, ProcessCrashed, TransientError, UndecodableEvent
from core.failpoints import reach
from core.messaging.batching import PartitionBatch
from core.messaging.liveness import Pulse
from core.messaging.role import Item, Received
from core.messaging.session import RoleParts, Session
from core.messaging.stage_timer import TimeAccount
from core.telemetry import tracing

log = structlog.get_logger(__name__)

E = TypeVar("E")
P = TypeVar("P")

#: So many deaths after the role was told `ProcessCrashed` its record is kept from the role: being
#: told did not help.
BEYOND_THE_ROLE = 2


#: What a record became: an item, or the error that kept it from the role.
Made: TypeAlias = Item[E, P] | PermanentError

#: A partition batch with what each of its records became, in order.
Prepared: TypeAlias = tuple[PartitionBatch, Sequence[Made[E, P]]]


class Preparer(Generic[E, P]):
    """Makes plans of batches."""

    def __init__(self, session: Session, parts: RoleParts[E, P]) -> None:
        self._session = session
        self._parts = parts
        self._span = f"{parts.group} prepare"

    async def prepare(self, batch: Sequence[PartitionBatch]) -> list[Prepared[E, P]] | None:
        """Return what each record became, in order; None once none of the batch is ours any more.

        Raises:
            Exception: what the role raises beside TransientError; a bug, which ends the process.
        """
        reach("prepare.begun")
        if not any(map(len, batch)):  # nothing but offsets to be passed
            return [(partition_batch, ()) for partition_batch in batch]
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
        """In isolation, note which record is being prepared, since a crash counts for it alone."""
        parts, failures = self._parts, 0
        while self._session.tracker.isolating() and self._session.is_live(batch):
            try:
                # The offset where the partition stands; behind a gap the record's own is higher.
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
        """Return errors by their place in the batch, and what the role is to prepare, in order."""
        condemned = self._session.tracker.condemned()
        decode = self._parts.decode
        settled: dict[int, Made[E, P]] = {}
        waiting: list[Received[E]] = []
        for partition_batch in batch:
            partition, records = partition_batch.partition, partition_batch.records
            crashes = condemned.get((partition, partition_batch.from_offset), 0)
            if records and (crashes or partition_batch.unreadable):
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
        """Return what a first record becomes that is unreadable or ended the process too often."""
        if partition_batch.unreadable:
            return UndecodableEvent(partition_batch.unreadable, reason="unreadable_record")
        if crashes >= self._session.limits.crash_reject_after + BEYOND_THE_ROLE:
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
    """Return items and errors in the order of their records; the errors' places are the keys."""
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
        self._running: set[asyncio.Task[list[Prepared[E, P]] | None]] = set()
        self.ordered: asyncio.Queue[asyncio.Task[list[Prepared[E, P]] | None]] = asyncio.Queue()

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

    def pending(self) -> frozenset[asyncio.Task[list[Prepared[E, P]] | None]]:
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

    async def _prepare(self, batch: list[PartitionBatch]) -> list[Prepared[E, P]] | None:
        try:
            return await self._preparer.prepare(batch)
        finally:
            self._workers.release()
