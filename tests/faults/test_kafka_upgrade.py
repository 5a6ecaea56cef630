"""A folder of the version before: all records are there, and new ones go on behind them."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from core.messaging.kafka.connection import login_options
from standalone.environment import cache_directory
from standalone.kafka.broker import EmbeddedKafka
from standalone.kafka.jars import LOCK_FILE, kafka_version, parse_lock
from tests.servers import first_port, make_home, settings_of

#: The version before, ours, and the next one: with a new list ours becomes the one before.
LISTS = Path(__file__).parent / "harness"
VERSIONS = (LISTS / "kafka-jars-4.3.0.lock", LOCK_FILE, LISTS / "kafka-jars-4.4.0.lock")
KEPT = TopicPartition("kept", 0)
RECORDS = 2000


@pytest.fixture
def home() -> Iterator[Path]:
    folder = make_home("upgrade")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def client(server: EmbeddedKafka) -> dict[str, Any]:
    """Return the arguments by which a plain client reaches this server."""
    return {"bootstrap_servers": server.bootstrap, **login_options(settings_of(server))}


async def create_topic(server: EmbeddedKafka) -> None:
    admin = AIOKafkaAdminClient(**client(server))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(KEPT.topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(server: EmbeddedKafka, numbers: range) -> None:
    async with AIOKafkaProducer(**client(server), acks="all", enable_idempotence=True) as producer:
        for number in numbers:
            sent = await producer.send(KEPT.topic, b"%d" % number, partition=KEPT.partition)
        await producer.flush()
        await sent


async def read_all(server: EmbeddedKafka) -> list[int]:
    async with AIOKafkaConsumer(**client(server)) as consumer:
        consumer.assign([KEPT])
        await consumer.seek_to_beginning(KEPT)
        end = (await consumer.end_offsets([KEPT]))[KEPT]
        found = list[int]()
        while await consumer.position(KEPT) < end:
            batches = await consumer.getmany(timeout_ms=1000)
            found += [int(record.value) for batch in batches.values() for record in batch]
        return found


@asynccontextmanager
async def reader(server: EmbeddedKafka) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer that commits for a group without being a member of it."""
    async with AIOKafkaConsumer(
        **client(server), group_id="readers", enable_auto_commit=False
    ) as consumer:
        consumer.assign([KEPT])
        yield consumer


def version(lock: Path) -> tuple[int, ...]:
    return tuple(map(int, kafka_version(parse_lock(lock.read_text())).split(".")))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a version that is not in the cache is downloaded and recorded first
async def test_records_of_the_version_before_are_kept_with_the_cluster_and_its_groups(
    home: Path,
) -> None:
    numbers = [version(lock) for lock in VERSIONS]
    assert numbers == sorted(set(numbers)), "each is newer than the one before"
    cluster_ids = set()
    for step, lock in enumerate(VERSIONS):
        server = EmbeddedKafka(home, cache_directory(home), first_port() + 360, jars=lock)
        server.start()
        try:
            if step == 0:
                await create_topic(server)
            else:
                assert await read_all(server) == list(range(step * RECORDS))
                async with reader(server) as member:
                    assert await member.committed(KEPT) == step
            await produce(server, range(step * RECORDS, (step + 1) * RECORDS))

            assert await read_all(server) == list(range((step + 1) * RECORDS))
            async with reader(server) as member:
                await member.commit({KEPT: step + 1})
            cluster_ids.add(server.cluster_id)
        finally:
            server.kill()  # no clean stop: its log is recovered by the next version
            server.stop()
    assert len(cluster_ids) == 1
