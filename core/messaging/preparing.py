"""From records to plans: decode them, then call the role's `prepare` until it succeeds."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

import structlog

from core.errors import (
    ConfigurationError,
    PermanentError,
    ProcessCrashed,
    RecordBroke,
    TransientError,
    UndecodableEvent,
)
from core.failpoints import reach
from core.messaging.batching import PartitionBatch
from core.messaging.formats.structured import in_binary_mode
from core.messaging.liveness import Pulse
from core.messaging.role import Item, Received
from core.messaging.session import RoleParts, Session
from core.messaging.spans import place_of
from schemas.record import Partition

log = structlog.get_logger(__name__)

E = TypeVar("E")
P = TypeVar("P")

#: So many deaths after the role was told `ProcessCrashed` its record is kept from the role: being
#: told did not help.
BEYOND_THE_ROLE = 2


#: After so many records that broke one after the other it is not the records: an accelerator that
#: lost its context, say. The process ends, and the next one begins with them again.
MOST_BROKEN_IN_A_ROW = 10


#: What a record became: an item, or the error that kept it from the role.
Made: TypeAlias = Item[E, P] | PermanentError

#: A partition batch with what each of its records became, in order.
Prepared: TypeAlias = tuple[PartitionBatch, Sequence[Made[E, P]]]


class Preparer(Generic[E, P]):
    """Makes plans of batches."""

    def __init__(self, session: Session, parts: RoleParts[E, P]) -> None:
        self._session = session
        self._parts = parts
        self._broken_in_a_row = 0

    async def prepare(self, batch: Sequence[PartitionBatch]) -> list[Prepared[E, P]] | None:
        """Return what each record became, in order; None once none of the batch is ours any more.

        Raises:
            ConfigurationError: the role cannot work at all.
            Exception: a bug that breaks record after record, which a new process may not have.
        """
        reach("prepare.begun")
        structlog.contextvars.bind_contextvars(**place_of(batch))  # of this task alone
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
                    plain = in_binary_mode(record)
                    event = decode(plain)
                except Exception as error:  # noqa: BLE001 - it costs this record and no other
                    settled[len(settled) + len(waiting)] = self._blamed(
                        error, "decoded", partition, offset
                    )
                else:
                    waiting.append(Received(event, partition, offset, plain, timestamp_ms))
        return settled, waiting

    def _suspect(self, partition_batch: PartitionBatch, crashes: int) -> Made[E, P]:
        """Return what a first record becomes that is unreadable or ended the process too often."""
        if partition_batch.unreadable:
            return UndecodableEvent(partition_batch.unreadable, reason="unreadable_record")
        if crashes >= self._session.limits.crash_reject_after + BEYOND_THE_ROLE:
            return _crashed(crashes)
        offset, timestamp_ms, record = partition_batch.records[0]
        try:
            record = in_binary_mode(record)
            event = self._parts.decode(record)
        except Exception as error:  # noqa: BLE001 - as above
            return self._blamed(error, "decoded", partition_batch.partition, offset)
        return Item(
            Received(event, partition_batch.partition, offset, record, timestamp_ms),
            _crashed(crashes),
        )

    async def _planned(
        self, batch: Sequence[PartitionBatch], received: Sequence[Received[E]], *, tries: int = 1
    ) -> Sequence[Item[E, P]] | None:
        """Return plans; what breaks with an error that is nobody's outage costs its record alone.

        `prepare` is free of effects, so it may be asked again for the halves of a batch until the
        record is found, and for that one once more: memory may have been short.
        """
        try:
            planned = await self._tried(batch, received)
        except ConfigurationError:
            raise
        except Exception as error:
            if len(received) == 1 and tries > 1:
                self._broken_in_a_row += 1
                if self._broken_in_a_row > MOST_BROKEN_IN_A_ROW:
                    raise
                (one,) = received
                return [Item(one, self._blamed(error, "prepared", one.partition, one.offset))]
            log.warning("batch_broke", records=len(received), error=repr(error))
        else:
            self._broken_in_a_row = 0
            return planned
        if len(received) == 1:
            return await self._planned(batch, received, tries=tries + 1)
        middle = len(received) // 2
        front = await self._planned(batch, received[:middle])
        back = None if front is None else await self._planned(batch, received[middle:])
        return None if front is None or back is None else [*front, *back]

    def _blamed(
        self, error: Exception, during: str, partition: Partition, offset: int
    ) -> PermanentError:
        """Return what an error costs its record, and write about one that is a bug of ours."""
        if isinstance(error, PermanentError):
            return error
        self._session.breakages += 1
        log.error(
            "record_broke",
            topic=partition.topic,
            partition=partition.number,
            offset=offset,
            during=during,
            exc_info=error,
        )
        return RecordBroke(error, during=during)

    async def _tried(
        self, batch: Sequence[PartitionBatch], received: Sequence[Received[E]]
    ) -> Sequence[Item[E, P]] | None:
        failures, pulse = 0, Pulse(self._session.report_progress)
        while self._session.is_live(batch):
            try:
                with pulse.trying():
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
