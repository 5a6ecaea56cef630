"""Where logs begin and end: for everybody, and for readers of committed records.

A consumer of aiokafka 0.14 that reads committed records can only ask where those end. Where a
transaction is open, the log goes on behind that.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest

from core.messaging.kafka.connection import client_options, on_broker, translated
from core.messaging.ports import Bounds
from core.settings import KafkaSettings
from schemas.topics import Topic

_LATEST, _EVERYTHING = -1, 0  # of a request: the time to look for, and the isolation level
_NO_REPLICA = -1
#: What a producer takes back must have no effect. A log ends for us where a transaction is open.
COMMITTED = "read_committed"
LOOK_TIMEOUT_S = 30.0  # from connecting to the last answer


async def bounds_of(
    consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]
) -> dict[TopicPartition, Bounds]:
    """Return the bounds of these logs, by a consumer that reads committed records.

    Raises:
        KafkaError: they are not to be had at present.
    """
    starts = await consumer.beginning_offsets(places)
    # The ends last: then no log seems to end before where its committed records do.
    stable = await consumer.end_offsets(places)
    ends = await _ends(consumer, places)
    return {place: Bounds(starts[place], stable[place], ends[place]) for place in places}


async def _ends(
    consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    client = consumer._client  # noqa: SLF001  # it knows the leaders
    asked: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for place in places:
        leader = client.cluster.leader_for_partition(place)
        if leader is None or leader == _NO_REPLICA:
            raise LeaderNotAvailableError(place)
        asked[leader][place.topic].append((place.partition, _LATEST))
    found: dict[TopicPartition, int] = {}
    for leader, topics in asked.items():
        request = OffsetRequest(_NO_REPLICA, _EVERYTHING, list(topics.items()))
        response = await client.send(leader, request)
        for topic, partitions in response.topics:
            for number, code, *_, offset in partitions:
                if code:  # a leader that is one no more: the next request asks the new one
                    client.force_metadata_update()
                    raise for_code(code)(TopicPartition(topic, number))
                found[TopicPartition(topic, number)] = offset
    return found


async def log_bounds(settings: KafkaSettings, topic: Topic) -> dict[int, Bounds]:
    """Return the bounds of each partition's log. Joins no group.

    Raises:
        BrokerAway: no answer in time, or the topic does not exist.
    """
    name = on_broker(settings, topic.name)
    with translated("Kafka, asked where its logs end"):
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            consumer = AIOKafkaConsumer(
                **client_options(settings, client_id="photo-archive-bounds"),
                isolation_level=COMMITTED,
            )
            try:
                await consumer.start()
                numbers = await consumer._client._wait_on_metadata(name)  # noqa: SLF001
                places = [TopicPartition(name, number) for number in sorted(numbers)]
                bounds = await bounds_of(consumer, places)
            finally:
                await consumer.stop()
    return {place.partition: bounds[place] for place in places}
