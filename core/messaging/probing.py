"""Finding the one record that the client cannot read.

aiokafka 0.14 unpacks a whole batch before it gives anything of it: a header name that is not UTF-8
raises out of every fetch, for ever. Asked for one record at a time it raises exactly at the guilty
one. Java's client would read it; what lies behind it in the same producer batch we cannot reach
either, so that is found and set aside in the same way, record by record.
"""

from collections.abc import Callable, Sequence

import structlog

from core.messaging.membership import Fetched, Garbled, GroupClient
from core.messaging.partition_batch import PartitionBatch, size_of
from core.messaging.session import Session
from schemas.record import Partition, Record

log = structlog.get_logger(__name__)

WAIT_S = 0.3
#: More than one fetch of the intake holds, so that the guilty one is among them.
MOST_RECORDS = 600
#: A damaged transfer is read well the next time.
TRIES = 3


class Probe:
    """Reads one record at a time until the unreadable one is found and set aside."""

    def __init__(
        self,
        session: Session,
        client: GroupClient,
        accept: Callable[[Partition, int | None, Sequence[Fetched]], None],
    ) -> None:
        self._session = session
        self._client = client
        self._accept = accept

    async def run(self) -> None:
        """Look through all partitions that are ours.

        Raises:
            BrokerAway: as `GroupClient.fetch`.
        """
        for partition, epoch in self._session.tracker.ready().items():
            # The failed fetch has moved the client past records that nobody has seen.
            self._seek(partition, epoch)
        for partition, epoch in self._session.tracker.ready().items():
            await self._look_through(partition, epoch)

    async def _look_through(self, partition: Partition, epoch: int) -> None:
        failures = 0
        for _ in range(MOST_RECORDS):
            if self._session.draining or not self._session.tracker.owns(partition, epoch):
                return
            try:
                fetched = await self._client.fetch([partition], max_records=1, timeout_s=WAIT_S)
            except Garbled as error:
                failures += 1
                if failures >= TRIES:
                    self._set_aside(partition, epoch, str(error))
                    failures = 0
                self._seek(partition, epoch)
                continue
            if not fetched:
                return
            for place, records in fetched:
                self._accept(place, epoch, records)

    def _seek(self, partition: Partition, epoch: int) -> None:
        position = self._session.tracker.position(partition)
        if position is not None and self._session.tracker.owns(partition, epoch):
            self._client.seek(partition, position)

    def _set_aside(self, partition: Partition, epoch: int, why: str) -> None:
        session = self._session
        position = session.tracker.position(partition)
        if position is None or not session.tracker.owns(partition, epoch):
            return
        session.tracker.judge(partition, epoch, position, position)
        record = Record(partition.topic, None, (), b"")
        found = [(position, -1, record)]
        session.put(PartitionBatch(partition, epoch, position, found, size_of(found), why))
        log.error(
            "record_unreadable",
            topic=partition.topic,
            partition=partition.number,
            offset=position,
            error=why,
        )
