"""Where the logs of topics begin and end, for who is no member of any group."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from core.errors import BrokerAway
from core.messaging.kafka.connection import client_options, logical, on_broker, translated
from core.settings import KafkaSettings
from schemas.record import Partition

TIMEOUT_S = 4.0  # less than the time between two looks
EARLIEST, LATEST = -2, -1
READ_COMMITTED = 1  # the end is then where consumers stop reading: before open transactions


class LogBounds:
    """Asks for the bounds of logs over one client, which is made anew after an outage.

    Args:
        settings: the broker.
        client_id: name in the broker's logs.
    """

    def __init__(self, settings: KafkaSettings, *, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._client: AIOKafkaClient | None = None

    async def of(self, topics: Sequence[str]) -> dict[Partition, tuple[int, int]]:
        """Return the first offset of each log and the one after its last readable record.

        Raises:
            BrokerAway: no answer in time.
        """
        names = [on_broker(self._settings, topic) for topic in topics]
        try:
            with translated("Kafka, asked where its logs end"):
                async with asyncio.timeout(TIMEOUT_S):
                    client = await self._opened(names)
                    starts = await _offsets(client, names, EARLIEST)
                    ends = await _offsets(client, names, LATEST)
        except BrokerAway:
            await self.close()
            raise
        return {
            Partition(logical(self._settings, place.topic), place.partition): (start, ends[place])
            for place, start in starts.items()
            if place in ends
        }

    async def _opened(self, names: Sequence[str]) -> AIOKafkaClient:
        if self._client is None:
            options = client_options(self._settings, client_id=self._client_id)
            self._client = AIOKafkaClient(**options)
            await self._client.bootstrap()
            await self._client.set_topics(names)
        return self._client

    async def close(self) -> None:
        """Close the client."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


async def _offsets(
    client: AIOKafkaClient, names: Sequence[str], where: int
) -> Mapping[TopicPartition, int]:
    asked: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        for number in client.cluster.partitions_for_topic(name) or ():
            leader = client.cluster.leader_for_partition(TopicPartition(name, number))
            if leader is not None and leader >= 0:
                asked[leader][name].append((number, where))
    found: dict[TopicPartition, int] = {}
    for node, topics in asked.items():
        answer = await client.send(node, OffsetRequest(-1, READ_COMMITTED, list(topics.items())))
        for name, parts in answer.topics:
            for number, error, _timestamp, offset in parts:
                if error:  # its leader has moved: the next look asks the right one
                    client.force_metadata_update()
                else:
                    found[TopicPartition(name, number)] = offset
    return found
