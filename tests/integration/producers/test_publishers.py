"""The publisher in memory behaves as the real one as far as the producers use it."""

import os
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from core.errors import BrokerAway, PermanentError
from core.messaging.kafka.producer import Publisher as KafkaPublisher
from core.messaging.kafka.topics import ensure_topics
from core.messaging.limits import ClientLimits
from core.messaging.ports import RecordPublisher
from core.offsets import Place
from core.settings import KafkaSettings
from core.telemetry.metrics import Metrics
from producers.publishing import Patience, publish_all
from schemas.record import Record
from schemas.topics import EVENT_MAX_BYTES, IMAGES_ARRIVED, plan_topics
from tests.fakes.publisher import MemoryPublisher


@pytest.fixture(params=["memory", "kafka"])
async def publisher(request: pytest.FixtureRequest) -> AsyncIterator[RecordPublisher]:
    if request.param == "memory":
        memory = MemoryPublisher()
        memory.largest_value = EVENT_MAX_BYTES
        yield memory
        return
    settings = KafkaSettings(
        bootstrap_servers=request.getfixturevalue("kafka_bootstrap"),
        topic_prefix=request.getfixturevalue("topics_prefix"),
    )
    await ensure_topics(settings, plan_topics())
    metrics = Metrics(CollectorRegistry())
    async with KafkaPublisher(settings, metrics, client_id="test") as real:
        yield real


@pytest.fixture(params=["memory", "kafka"])
async def away(request: pytest.FixtureRequest) -> AsyncIterator[RecordPublisher]:
    if request.param == "memory":
        memory = MemoryPublisher()
        memory.is_away = True
        yield memory
        return
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:9")
    limits = ClientLimits(publish_timeout_s=1)
    metrics = Metrics(CollectorRegistry())
    async with KafkaPublisher(settings, metrics, client_id="test", limits=limits) as real:
        yield real


def record(size: int) -> Record:
    # Random bytes, since the limit applies after compression.
    return Record(IMAGES_ARRIVED.name, b"key", (("a", b"\xff"),), os.urandom(size))


async def test_outcomes_come_in_the_order_of_the_records(publisher: RecordPublisher) -> None:
    records = [record(1), record(2 * EVENT_MAX_BYTES), record(2)]

    # After a refusal aiokafka 0.14 may have its next record refused too (OutOfOrderSequenceNumber),
    # and a new producer sends it again: hence the retries.
    outcomes = await publish_all(publisher, records, Patience(limit_s=20, pause_s=0.1))

    assert isinstance(outcomes[0], Place)
    assert isinstance(outcomes[1], PermanentError)
    assert outcomes[1].reason == "kafka_refused"
    assert isinstance(outcomes[2], Place)
    assert outcomes[2].topic == IMAGES_ARRIVED.name


async def test_a_broker_that_is_away_is_an_outcome_and_no_exception(away: RecordPublisher) -> None:
    assert [type(outcome) for outcome in await away.publish([record(1), record(1)])] == [
        BrokerAway,
        BrokerAway,
    ]


async def test_nothing_published_gives_nothing(publisher: RecordPublisher) -> None:
    assert await publisher.publish([]) == []
