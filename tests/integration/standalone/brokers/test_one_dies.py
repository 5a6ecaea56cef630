"""Three brokers: each record is on all of them, and any one may die."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client import CollectorRegistry

from core.errors import BrokerAway
from core.messaging.kafka.cluster import look_at
from core.messaging.kafka.producer import Publisher
from core.messaging.kafka.topics import ensure_topics
from core.offsets import Place
from core.settings import KafkaSettings
from core.telemetry.metrics import Metrics
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED, plan_topics
from standalone.environment import cache_directory
from standalone.kafka.broker import Broker
from standalone.kafka.cluster import EmbeddedCluster
from standalone.ports import PortPlan
from tests.integration.standalone.waiting import until_true
from tests.servers import first_port, kafka_login, settings_of

PORT_OFFSET = 400  # away from the session's own servers
RECORDS = 60
LOOKS, LOOK_S = 12, 8.0  # in an order by chance; a quarter of it suffices on a quiet machine
FAIL_OVER_S = 120.0  # the session of the dead one, 9 s, and an election; a busy machine


def start_all(brokers: EmbeddedCluster) -> None:
    """Start them side by side: none is ready alone."""
    with ThreadPoolExecutor(len(brokers.brokers)) as pool:
        list(pool.map(Broker.start, brokers.brokers.values()))


@pytest.fixture
def cluster(empty_home: Path) -> Iterator[EmbeddedCluster]:
    port, cache = first_port() + PORT_OFFSET, cache_directory(empty_home)
    three = EmbeddedCluster(empty_home, cache, port, size=3, plan=PortPlan())
    try:
        start_all(three)
        yield three
    finally:
        with ThreadPoolExecutor(len(three.brokers)) as pool:
            list(pool.map(Broker.stop, three.brokers.values()))


@pytest.fixture
def kafka(cluster: EmbeddedCluster) -> KafkaSettings:
    return settings_of(cluster, replication_factor=3, min_insync_replicas=2)


async def replicas(kafka: KafkaSettings) -> set[tuple[int, ...]]:
    """Return the brokers that have a copy, of each partition of each topic."""
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers, **kafka_login(kafka))
    await client.start()
    try:
        topics = await client.describe_topics()
    finally:
        await client.close()
    assert {plan.name for plan in plan_topics()} <= {topic["topic"] for topic in topics}
    return {
        tuple(sorted(partition["replicas"]))
        for topic in topics
        for partition in topic["partitions"]
    }


async def publish_all(kafka: KafkaSettings, kill_at: int, victim: Broker) -> int:
    """Publish numbered records, each until it is acknowledged; return how many tries failed."""
    failed = 0
    async with Publisher(kafka, Metrics(CollectorRegistry()), client_id="test") as publisher:
        for number in range(RECORDS):
            if number == kill_at:
                os.kill(victim.pid, signal.SIGKILL)
            record = Record(IMAGES_ARRIVED.name, b"%d" % number, (), b"%d" % number)

            async def is_there(record: Record = record) -> bool:
                nonlocal failed
                (sent,) = await publisher.publish([record])
                failed += not isinstance(sent, Place)
                return isinstance(sent, Place)

            await until_true(is_there, "the record is acknowledged", FAIL_OVER_S)
    return failed


async def read_all(kafka: KafkaSettings) -> set[bytes]:
    name = IMAGES_ARRIVED.name
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, **kafka_login(kafka)
    ) as consumer:
        places = [TopicPartition(name, number) for number in range(IMAGES_ARRIVED.partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends, found = await consumer.end_offsets(places), set[bytes]()
        while any([await consumer.position(place) < ends[place] for place in places]):
            batches = await consumer.getmany(timeout_ms=500)
            found |= {record.value for batch in batches.values() for record in batch}
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["kafka-1"])
async def test_a_broker_of_three_dies_and_what_is_published_is_acknowledged_and_kept(
    cluster: EmbeddedCluster, kafka: KafkaSettings, name: str
) -> None:
    await ensure_topics(kafka, plan_topics())
    assert await replicas(kafka) == {(1, 2, 3)}
    assert (await look_at(kafka, IMAGES_ARRIVED.name)).missing == ()
    victim = cluster.brokers[name]

    await publish_all(kafka, RECORDS // 2, victim)
    assert not victim.is_running, "it is not started again by itself here"
    assert (await look_at(kafka, IMAGES_ARRIVED.name)).missing == (int(name[-1]),)
    assert await read_all(kafka) == {b"%d" % number for number in range(RECORDS)}

    ports = victim.ports
    victim.start()
    assert victim.ports == ports

    async def is_whole() -> bool:
        return (await look_at(kafka, IMAGES_ARRIVED.name)).missing == ()

    await until_true(is_whole, "all three are there again", FAIL_OVER_S)


@pytest.mark.timeout(600)
async def test_a_broker_of_three_that_hangs_does_not_use_up_the_time_of_a_look(
    cluster: EmbeddedCluster, kafka: KafkaSettings
) -> None:
    """It takes connections and answers nothing; whichever is asked first, the others answer."""
    await ensure_topics(kafka, plan_topics())
    first = next(iter(cluster.brokers.values()))
    hung = kafka.model_copy(update={"bootstrap_servers": first.bootstrap})
    os.kill(first.pid, signal.SIGSTOP)
    try:
        for _ in range(LOOKS):
            assert (await look_at(kafka, IMAGES_ARRIVED.name, timeout_s=LOOK_S)).brokers
        with pytest.raises(BrokerAway):
            await look_at(hung, IMAGES_ARRIVED.name, timeout_s=LOOK_S / 4)
    finally:
        os.kill(first.pid, signal.SIGCONT)
