"""Topics keep what was acknowledged for as long as the plan says, whatever time a record has."""

import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from core.messaging.kafka.topics import ensure_topics
from core.settings import KafkaSettings
from schemas.topics import EVENT_TOPICS, IMAGES_ARRIVED, TopicPlan, plan_topics
from tests.servers import kafka_login

DAY_MS = 24 * 3600 * 1000
PLAN = next(plan for plan in plan_topics() if plan.name == IMAGES_ARRIVED.name)
OLD_PLAN = TopicPlan(PLAN.name, PLAN.partitions, (("retention.ms", "86400000"),))


async def settings_of(kafka: KafkaSettings, topic: str) -> dict[str, str]:
    """Return a topic's settings by the broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers, **kafka_login(kafka))
    await admin.start()
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, kafka.topic_prefix + topic)
        (response,) = await admin.describe_configs([resource])
    finally:
        await admin.close()
    ((_, _, _, _, entries),) = response.resources
    return {entry[0]: entry[1] for entry in entries}


async def sent_with(kafka: KafkaSettings, timestamp_ms: int) -> Any:
    """Send an arrival with a time of its own; return it as it was read back."""
    where = {"bootstrap_servers": kafka.bootstrap_servers, **kafka_login(kafka)}
    name = kafka.topic_prefix + IMAGES_ARRIVED.name
    async with AIOKafkaProducer(**where) as producer:
        place = await producer.send_and_wait(name, b"{}", partition=0, timestamp_ms=timestamp_ms)
    async with AIOKafkaConsumer(**where) as consumer:
        partition = TopicPartition(name, 0)
        consumer.assign([partition])
        consumer.seek(partition, place.offset)
        return await consumer.getone()


@pytest.mark.parametrize("topic", EVENT_TOPICS, ids=lambda topic: topic.name)
def test_every_event_topic_counts_its_retention_by_the_brokers_clock(topic: Any) -> None:
    (plan,) = [plan for plan in plan_topics() if plan.name == topic.name]

    assert ("message.timestamp.type", "LogAppendTime") in plan.config


async def test_a_record_with_an_old_time_of_its_own_is_as_old_as_its_arrival(
    kafka: KafkaSettings,
) -> None:
    assert await ensure_topics(kafka, [PLAN]) == []
    now_ms = time.time() * 1000

    read = await sent_with(kafka, round(now_ms - 8 * DAY_MS))

    assert abs(read.timestamp - now_ms) < DAY_MS / 24
    assert read.timestamp_type == 1


async def test_a_topic_of_before_is_altered_and_nothing_else_of_it(kafka: KafkaSettings) -> None:
    await ensure_topics(kafka, [OLD_PLAN])
    assert (await settings_of(kafka, PLAN.name))["message.timestamp.type"] == "CreateTime"

    lines = await ensure_topics(kafka, [PLAN])

    after = await settings_of(kafka, PLAN.name)
    assert after["message.timestamp.type"] == "LogAppendTime"
    assert after["retention.ms"] == "86400000", "the operator's"
    assert sum("message.timestamp.type=LogAppendTime was set" in line for line in lines) == 1
    assert not [line for line in await ensure_topics(kafka, [PLAN]) if "timestamp" in line]
    now_ms = time.time() * 1000
    assert abs((await sent_with(kafka, 0)).timestamp - now_ms) < DAY_MS / 24
