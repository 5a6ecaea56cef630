"""A publisher in memory: it keeps what was published, and fails when told to."""

import asyncio
from collections.abc import Sequence

from core.errors import BrokerAway, PermanentError
from core.messaging.ports import Sent
from core.offsets import Place
from schemas.image import ImageArrived
from schemas.record import Record


class MemoryPublisher:
    """A `producers.sinks.Publisher`.

    Attributes:
        records: the published records, in order.
        is_away: True: no record is acknowledged.
        lose_acknowledgements: number of next records that arrive without being acknowledged.
        largest_value: values larger than this are refused for good.
        delay_s: duration of each call.
        gate: where it is set, each call waits for it.
        partition: the partition of all records.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.calls = 0
        self.delay_s = 0.0
        self.gate: asyncio.Event | None = None
        self.partition = 0
        self.is_away = False
        self.lose_acknowledgements = 0
        self.largest_value = 4 * 1024 * 1024

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        self.calls += 1
        await asyncio.sleep(self.delay_s)
        if self.gate is not None:
            await self.gate.wait()
        return [self._publish(record) for record in records]

    def _publish(self, record: Record) -> Sent:
        if self.is_away:
            return BrokerAway("told to be away")
        if len(record.value) > self.largest_value:
            return PermanentError(f"{len(record.value)} bytes", reason="kafka_refused")
        self.records.append(record)
        if self.lose_acknowledgements:
            self.lose_acknowledgements -= 1
            return BrokerAway("acknowledgement lost")
        return Place(record.topic, self.partition, len(self.records) - 1)

    def uris(self) -> list[str]:
        """Return the URIs of the image arrivals, in order."""
        return [ImageArrived.model_validate_json(record.value).uri for record in self.records]
