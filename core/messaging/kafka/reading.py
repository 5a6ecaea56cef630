"""Records of a log from one offset to another, for who is no member of any group."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from core.errors import BrokerAway
from core.messaging.kafka import unpacking
from core.messaging.kafka.connection import client_options, logical, on_broker, translated
from core.settings import KafkaSettings
from schemas.record import Partition, Record

START_TIMEOUT_S = 20.0
#: Nothing comes although there is something: the broker went away.
SILENT_S = 60.0
_WAIT_MS = 500


async def read(
    settings: KafkaSettings, wanted: Mapping[Partition, tuple[int, int]]
) -> AsyncIterator[tuple[Partition, int, Record]]:
    """Yield the committed records of each log from the first offset up to the second.

    Of one partition they come in their order. A record that the client cannot unpack, or that has
    no value, is left out: no consumer of ours would do anything with it.

    Raises:
        BrokerAway: Kafka is away, or an offset is not in its log.
    """
    ends = {
        TopicPartition(on_broker(settings, partition.topic), partition.number): stretch
        for partition, stretch in wanted.items()
        if stretch[0] < stretch[1]
    }
    if not ends:
        return
    async with _consumer(settings, ends) as consumer:
        reader = _Reader(consumer, {place: start for place, (start, _) in ends.items()})
        while left := [place for place, at in reader.positions.items() if at < ends[place][1]]:
            for place, record in await reader.next(left):
                if record.offset < ends[place][1] and record.value is not None:
                    topic = logical(settings, place.topic)
                    headers = tuple((name, value or b"") for name, value in record.headers)
                    yield (
                        Partition(topic, place.partition),
                        record.offset,
                        Record(topic, record.key, headers, record.value),
                    )


@asynccontextmanager
async def _consumer(
    settings: KafkaSettings, stretches: Mapping[TopicPartition, tuple[int, int]]
) -> AsyncIterator[AIOKafkaConsumer]:
    unpacking.install()
    consumer = AIOKafkaConsumer(
        **client_options(settings, client_id="photo-archive-reading"),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        fetch_max_wait_ms=_WAIT_MS,
        max_partition_fetch_bytes=2 * 1024 * 1024,
    )
    try:
        with translated("read the log"):
            async with asyncio.timeout(START_TIMEOUT_S):
                await consumer.start()
        consumer.assign(list(stretches))
        for place, (start, _) in stretches.items():
            consumer.seek(place, start)
        yield consumer
    finally:
        await consumer.stop()


class _Reader:
    """Reads on from where it stands in each log.

    Args:
        consumer: assigned to the logs, and there where they are read from.
        positions: the offset that comes next in each.
    """

    def __init__(self, consumer: AIOKafkaConsumer, positions: dict[TopicPartition, int]) -> None:
        self.positions = positions
        self._consumer = consumer
        self._one_by_one = False

    async def next(self, left: list[TopicPartition]) -> list[tuple[TopicPartition, Any]]:
        """Return some records of these logs, and stand behind them.

        Raises:
            BrokerAway: nothing came for a minute.
        """
        if self._one_by_one:
            left = left[:1]
        try:
            with translated("read the log"):
                async with asyncio.timeout(SILENT_S):
                    while not (found := await self._fetch(left)):
                        pass
        except BrokerAway:
            raise
        except Exception:  # noqa: BLE001  # unpacking a hostile batch may raise anything
            self._pass(left)
            return []
        for place, stretch in found.items():
            self.positions[place] = stretch.end
        return [(place, record) for place, stretch in found.items() for record in stretch]

    async def _fetch(self, left: list[TopicPartition]) -> dict[TopicPartition, Any]:
        most = 1 if self._one_by_one else 500
        found: dict[TopicPartition, Any] = await self._consumer.getmany(
            *left, timeout_ms=_WAIT_MS, max_records=most
        )
        return found

    def _pass(self, left: list[TopicPartition]) -> None:
        """Go on one by one from where we stand; a record that fails alone is passed."""
        if self._one_by_one:
            self.positions[left[0]] += 1
        self._one_by_one = True
        for place, position in self.positions.items():
            self._consumer.seek(place, position)
