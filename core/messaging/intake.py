"""Fetching into the bounded queue. Records that are not ours are dropped and sought again."""

import asyncio
from collections.abc import Callable

import structlog

from core.errors import BrokerAway
from core.failpoints import reach
from core.messaging.batching import PartitionBatch, size_of
from core.messaging.ports import Dropped, Garbled, GroupClient, OutOfLog, Stretch
from core.messaging.session import Backoff, Session
from core.messaging.tracking import FetchAction
from core.messaging.watching.stage_timer import TimeAccount
from schemas.record import Partition, Record

log = structlog.get_logger(__name__)

POLL_S = 0.2
MOST_PER_POLL = 250  # records are unpacked in the event loop: a few milliseconds at a time
PROBE_WAIT_S = 0.3
#: Records to read one by one: more than one fetch holds, so that the unreadable one is among them.
PROBE_MOST_RECORDS = 600
#: How often reading one record may fail: a transfer that was damaged succeeds the next time.
PROBE_TRIES = 3


class Intake:
    """Moves records from the client to the queue, no faster than batches are taken from it."""

    def __init__(self, session: Session, client: GroupClient, *, backoff: Backoff) -> None:
        self._session = session
        self._client = client
        self._backoff = backoff
        self._account = TimeAccount(session.metrics, group=session.group, task="intake")
        self._is_full = False
        self._probe = Probe(session, client, self._accept)

    async def run(self) -> None:
        """Fetch until cancelled.

        Raises:
            BrokerAway: a hundred fetches failed in a row: the client will not recover by itself.
        """
        failures = 0
        while True:
            await self._wait_for_room()
            self._account.enter("poll")
            try:
                await self._fetch()
                failures = 0
                self._session.wait_for("fetch", None)
            except OutOfLog as error:
                self._session.recover("out_of_log", error.partitions)
            except Garbled as error:
                log.warning("fetch_garbled", error=str(error))
                await self._probe_all()
            except BrokerAway as error:
                failures += 1
                self._session.wait_for("fetch", error)
                log.warning("fetch_failed", error=str(error), failures=failures)
                if isinstance(error, Dropped):  # else they would be passed as a gap in the log
                    self._session.recover("dropped")
                if failures > 100:  # at 10 s each: no outage lasts so long, the client is stuck
                    raise
                await asyncio.sleep(self._backoff.delay_s(failures, self._session.random))

    async def _probe_all(self) -> None:
        self._account.enter("probe")
        try:
            await self._probe.run()
        except BrokerAway as error:  # the next fetch meets the same record again
            log.warning("probe_failed", error=str(error))

    async def _fetch(self) -> None:
        session = self._session
        # Between full and half empty no partition is fetched. The client keeps what it prefetched;
        # its own `pause` would throw that away. It is called all the same, to see its errors.
        epochs = {} if session.draining or self._is_full else session.tracker.ready()
        fetched = await self._client.fetch(
            epochs,
            max_records=max(1, min(session.queue.room, MOST_PER_POLL)),
            timeout_s=0.0 if self._is_full else POLL_S,
        )
        if fetched:
            reach("intake.fetched")
        for partition, stretch in fetched:
            self._accept(partition, epochs.get(partition), stretch)

    def _accept(self, partition: Partition, epoch: int | None, stretch: Stretch) -> None:
        session = self._session
        if session.draining or epoch is None:
            return
        start, end, records, _ = stretch
        at_ms = records[0][1] if records else -1
        classified = session.tracker.classify(partition, epoch, start, end, at_ms)
        if classified.action is not FetchAction.TAKE:
            cause = classified.action.value
            session.metrics.consumer_refetched.labels(session.group, cause).inc(len(records))
            if classified.action is FetchAction.SEEK:
                self._client.seek(partition, classified.position)
            return
        self._count_passed(partition, stretch)
        session.put(PartitionBatch(partition, epoch, start, end, records, size_of(records)))
        reach("intake.queued")

    def _count_passed(self, partition: Partition, stretch: Stretch) -> None:
        """Count what the log has no record for us at: usually nothing."""
        metrics, group = self._session.metrics, self._session.group
        start, end, records, tombstones = stretch
        if tombstones:
            metrics.consumer_tombstones.labels(group).inc(tombstones)
        if missing := end - start - len(records) - tombstones:
            metrics.consumer_gaps.labels(group).inc(missing)
            log.debug(
                "offset_gap",
                topic=partition.topic,
                partition=partition.number,
                offset=start,
                missing=missing,
            )

    async def _wait_for_room(self) -> None:
        """Wait for room, but no longer than one poll, so that the client's errors are seen."""
        session = self._session
        session.metrics.consumer_queue_records.labels(session.group).set(len(session.queue))
        if not session.queue.room:
            self._is_full = True
            self._account.enter("backpressure")
        while self._is_full:
            if session.queue.is_half_empty:
                self._is_full = False
                break
            session.taken.clear()
            try:
                async with asyncio.timeout(POLL_S):
                    await session.taken.wait()
            except TimeoutError:
                break
        session.metrics.consumer_paused.labels(session.group).set(self._is_full)


class Probe:
    """Reads one record at a time until the unreadable one is found and dead-lettered.

    aiokafka 0.14 unpacks a whole batch before it returns anything of it, so a header name that is
    not UTF-8 fails every fetch for ever. Asked for one record at a time it fails exactly at that
    record. The records behind it in the same producer batch cannot be reached either; they are
    found and dead-lettered in the same way, one by one. (Java's client can read them.)
    """

    def __init__(
        self,
        session: Session,
        client: GroupClient,
        accept: Callable[[Partition, int | None, Stretch], None],
    ) -> None:
        self._session = session
        self._client = client
        self._accept = accept

    async def run(self) -> None:
        """Read through all partitions that are ours.

        Raises:
            BrokerAway: as `GroupClient.fetch`.
        """
        for partition, epoch in self._session.tracker.ready().items():
            # The failed fetch moved the client's position past records that it never returned.
            self._seek(partition, epoch)
        for partition, epoch in self._session.tracker.ready().items():
            await self._look_through(partition, epoch)

    async def _look_through(self, partition: Partition, epoch: int) -> None:
        failures = 0
        for _ in range(PROBE_MOST_RECORDS):
            if self._session.draining or not self._session.tracker.owns(partition, epoch):
                return
            try:
                fetched = await self._client.fetch(
                    [partition], max_records=1, timeout_s=PROBE_WAIT_S
                )
            except Garbled as error:
                failures += 1
                if failures >= PROBE_TRIES:
                    self._set_aside(partition, epoch, str(error))
                    failures = 0
                self._seek(partition, epoch)
                continue
            if not fetched:
                return
            for place, stretch in fetched:
                self._accept(place, epoch, stretch)

    def _seek(self, partition: Partition, epoch: int) -> None:
        position = self._session.tracker.position(partition)
        if position is not None and self._session.tracker.owns(partition, epoch):
            self._client.seek(partition, position)

    def _set_aside(self, partition: Partition, epoch: int, why: str) -> None:
        session = self._session
        position = session.tracker.position(partition)
        if position is None or not session.tracker.owns(partition, epoch):
            return
        after = position + 1
        session.tracker.classify(partition, epoch, position, after)
        record = Record(partition.topic, None, (), b"")
        found = [(position, -1, record)]
        session.put(PartitionBatch(partition, epoch, position, after, found, size_of(found), why))
        log.error(
            "record_unreadable",
            topic=partition.topic,
            partition=partition.number,
            offset=position,
            error=why,
        )
