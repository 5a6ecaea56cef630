"""aiokafka without our adapters, for tests of the client itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition

from core.settings import KafkaSettings
from tests.counting import TOPIC
from tests.servers import kafka_login


def place(kafka: KafkaSettings, number: int) -> TopicPartition:
    """Return a partition of the test's topic by its broker-side name."""
    return TopicPartition(kafka.topic_prefix + TOPIC.name, number)


async def fill(kafka: KafkaSettings, number: int, count: int) -> None:
    """Put records into one partition."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, **kafka_login(kafka))
    await producer.start()
    try:
        for value in range(count):
            await producer.send(*place(kafka, number)[:1], b"%d" % value, partition=number)
        await producer.flush()
    finally:
        await producer.stop()


class Callbacks(ConsumerRebalanceListener):
    """A listener whose callbacks run code of the test."""

    def __init__(
        self,
        revoked: Callable[[], Awaitable[None]] | None = None,
        assigned: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.revoked = revoked
        self.assigned = assigned

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        if self.revoked is not None:
            await self.revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        if self.assigned is not None:
            await self.assigned()


def made(kafka: KafkaSettings, listener: Callbacks | None = None, **options: Any) -> Any:
    """Return a subscribed consumer that is not started."""
    consumer = AIOKafkaConsumer(
        **{
            "bootstrap_servers": kafka.bootstrap_servers,
            **kafka_login(kafka),
            "group_id": kafka.topic_prefix + "raw",
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 300,
            "fetch_max_wait_ms": 100,
        }
        | options
    )
    consumer.subscribe([kafka.topic_prefix + TOPIC.name], listener=listener or Callbacks())
    return consumer


@asynccontextmanager
async def member(
    kafka: KafkaSettings, listener: Callbacks | None = None, **options: Any
) -> AsyncIterator[Any]:
    """Start a consumer of a group; stop it when the block ends."""
    consumer = made(kafka, listener, **options)
    await consumer.start()
    try:
        yield consumer
    finally:
        async with asyncio.timeout(20):
            await consumer.stop()


async def until(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    """Poll until the condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


async def lasts(work: Awaitable[Any], seconds: float) -> "asyncio.Future[Any] | None":
    """Return the task if it is not done within this time, else None."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if done:
        task.exception()
    return None if done else task
