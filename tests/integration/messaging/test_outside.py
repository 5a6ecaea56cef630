"""The bounds of logs, for who is no member of any group."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from core.errors import BrokerAway
from core.messaging.kafka.outside import LogBounds
from core.messaging.kafka.producer import Publisher
from core.messaging.kafka.topics import ensure_topics
from core.offsets import Place
from core.settings import KafkaSettings
from core.telemetry.metrics import Metrics
from schemas.record import Partition, Record
from schemas.topics import IMAGES_ARRIVED, QUERIES_SUBMITTED, plan_topics

TOPICS = (IMAGES_ARRIVED.name, QUERIES_SUBMITTED.name)


@pytest.fixture
async def bounds(kafka: KafkaSettings) -> AsyncIterator[LogBounds]:
    await ensure_topics(kafka, plan_topics())
    opened = LogBounds(kafka, client_id="test")
    yield opened
    await opened.close()


async def all_bounds(bounds: LogBounds) -> dict[Partition, tuple[int, int]]:
    """The bounds, once every partition has a leader."""
    async with asyncio.timeout(60):
        while len(found := await bounds.of(TOPICS)) < 2 * IMAGES_ARRIVED.partitions:
            await asyncio.sleep(0.1)
    return found


async def test_the_bounds_follow_what_is_written(bounds: LogBounds, kafka: KafkaSettings) -> None:
    empty = await all_bounds(bounds)
    record = Record(IMAGES_ARRIVED.name, b"one key", (), b"{}")
    async with Publisher(kafka, Metrics(CollectorRegistry()), client_id="test") as publisher:
        async with asyncio.timeout(120):
            while not isinstance((last := await publisher.publish([record]))[0], Place):
                pass  # a leader that is new takes a while
    place = last[0]
    assert isinstance(place, Place)

    written = await all_bounds(bounds)

    assert set(empty.values()) == {(0, 0)}
    partition = Partition(IMAGES_ARRIVED.name, place.partition)
    assert written == {**empty, partition: (0, place.offset + 1)}


async def test_a_broker_that_is_away_is_an_outage_and_asked_anew() -> None:
    nowhere = LogBounds(KafkaSettings(bootstrap_servers="127.0.0.1:1"), client_id="test")
    for _ in range(2):
        with pytest.raises(BrokerAway):
            await nowhere.of(TOPICS)
