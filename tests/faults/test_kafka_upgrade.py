"""A folder of the version before: all records are there, and new ones go on behind them."""

import shutil
from collections.abc import Iterator
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

NEXT = Path(__file__).parent / "harness" / "kafka-jars-4.3.1.lock"
RECORDS = 2000


@pytest.fixture
def home() -> Iterator[Path]:
    folder = make_home("upgrade")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def client(server: EmbeddedKafka) -> dict[str, Any]:
    """Return the arguments by which a plain client reaches this server."""
    return {"bootstrap_servers": server.bootstrap, **login_options(settings_of(server))}


async def produce(server: EmbeddedKafka, numbers: range) -> None:
    async with AIOKafkaProducer(**client(server), acks="all", enable_idempotence=True) as producer:
        for number in numbers:
            sent = await producer.send("kept", b"%d" % number, partition=0)
        await producer.flush()
        await sent


async def read_all(server: EmbeddedKafka) -> list[int]:
    async with AIOKafkaConsumer(**client(server)) as consumer:
        partition = TopicPartition("kept", 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        found = list[int]()
        while await consumer.position(partition) < end:
            batches = await consumer.getmany(timeout_ms=1000)
            found += [int(record.value) for batch in batches.values() for record in batch]
        return found


@pytest.mark.slow
async def test_records_of_the_version_before_are_kept_with_the_cluster_and_its_groups(
    home: Path,
) -> None:
    versions = [kafka_version(parse_lock(file.read_text())) for file in (LOCK_FILE, NEXT)]
    assert versions == ["4.3.0", "4.3.1"]
    before, port = cache_directory(home), first_port() + 360
    earlier = EmbeddedKafka(home, before, port, jars=LOCK_FILE)
    earlier.start()
    try:
        cluster_id = earlier.cluster_id
        admin = AIOKafkaAdminClient(**client(earlier))
        await admin.start()
        await admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
        await admin.close()
        await produce(earlier, range(RECORDS))
        async with AIOKafkaConsumer(
            **client(earlier), group_id="readers", enable_auto_commit=False
        ) as member:
            await member.commit({TopicPartition("kept", 0): 700})
    finally:
        earlier.kill()  # no clean stop: its log is recovered by the next version
        earlier.stop()

    later = EmbeddedKafka(home, before, port, jars=NEXT)
    later.start()
    try:
        await produce(later, range(RECORDS, 2 * RECORDS))

        assert later.cluster_id == cluster_id
        assert await read_all(later) == list(range(2 * RECORDS))
        async with AIOKafkaConsumer(**client(later), group_id="readers") as member:
            assert await member.committed(TopicPartition("kept", 0)) == 700
    finally:
        later.stop()
