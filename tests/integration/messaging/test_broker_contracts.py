"""The simulated broker behaves as the real one: the same tests run on each.

`memory` is the double of the loop's unit tests: one member, whose rebalances the test makes.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Protocol

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from prometheus_client import CollectorRegistry

from core.errors import BrokerAway
from core.messaging.kafka.consumer import GroupConsumer
from core.messaging.kafka.eviction import evict
from core.messaging.kafka.producer import Publisher
from core.messaging.kafka.topics import ensure_topics
from core.messaging.ports import GroupClient, NotAMember, OutOfLog, RecordPublisher
from core.offsets import Place
from core.settings import KafkaSettings
from core.telemetry.metrics import Metrics
from schemas.record import Partition, Record
from tests.counting import GROUP, OUT, PLANS, TOPIC
from tests.fakes.messaging import MemoryGroupClient, MemoryLog, MemoryPublisher
from tests.servers import kafka_login
from tests.simulation.broker import SimBroker, SimLog
from tests.simulation.client import SimClient
from tests.simulation.database import SimDatabase
from tests.simulation.ports import SimPublisher
from tests.simulation.wire import Wire

PARTITIONS = [Partition(TOPIC.name, number) for number in range(TOPIC.partitions)]
P0, P1 = PARTITIONS[:2]
WITHIN_S = 30.0


class Cluster(Protocol):
    """A broker under test."""

    def member(self) -> GroupClient: ...
    def publisher(self) -> RecordPublisher: ...
    async def append(self, partition: Partition, values: Sequence[bytes]) -> None: ...
    async def evict(self, member_id: str) -> None: ...
    async def cut(self, partition: Partition, before: int) -> None: ...


class MemoryCluster:
    """A log in memory with one member."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        for partition in PARTITIONS:
            self.log.append(partition)
        self.client = MemoryGroupClient(self.log)

    def member(self) -> GroupClient:
        return self.client

    def publisher(self) -> RecordPublisher:
        return MemoryPublisher()

    async def append(self, partition: Partition, values: Sequence[bytes]) -> None:
        self.log.append(partition, *[Record(TOPIC.name, None, (), value) for value in values])

    async def evict(self, member_id: str) -> None:
        self.client.is_member = False

    async def cut(self, partition: Partition, before: int) -> None:
        raise NotImplementedError


class SimCluster:
    """The simulated broker, in real time."""

    def __init__(self) -> None:
        self.log = SimLog({partition: [] for partition in PARTITIONS})
        self.broker = SimBroker(self.log, SimDatabase())
        self.random = Random(1)
        self.wire = Wire(self.random, BrokerAway)

    def member(self) -> GroupClient:
        return SimClient(self.broker, self.wire, self.random)

    def publisher(self) -> RecordPublisher:
        return SimPublisher(self.broker, self.wire)

    async def append(self, partition: Partition, values: Sequence[bytes]) -> None:
        self.log.records[partition] += [Record(TOPIC.name, None, (), value) for value in values]

    async def evict(self, member_id: str) -> None:
        self.broker.leave(member_id)

    async def cut(self, partition: Partition, before: int) -> None:
        self.log.start[partition] = before


class KafkaCluster:
    """The session's broker, with topics and a group of this test's own."""

    def __init__(self, settings: KafkaSettings, publisher: Publisher) -> None:
        self.settings = settings
        self._publisher = publisher

    def member(self) -> GroupClient:
        return GroupConsumer(self.settings, group=GROUP, topic=TOPIC, client_id="contract")

    def publisher(self) -> RecordPublisher:
        return self._publisher

    async def append(self, partition: Partition, values: Sequence[bytes]) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.bootstrap_servers, **kafka_login(self.settings)
        )
        await producer.start()
        try:
            name = self.settings.topic_prefix + partition.topic
            for value in values:
                await producer.send_and_wait(name, value, partition=partition.number)
        finally:
            await producer.stop()

    async def evict(self, member_id: str) -> None:
        assert await evict(self.settings, group=GROUP, member_id=member_id)

    async def cut(self, partition: Partition, before: int) -> None:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self.settings.bootstrap_servers, **kafka_login(self.settings)
        )
        await admin.start()
        try:
            place = TopicPartition(self.settings.topic_prefix + partition.topic, partition.number)
            await admin.delete_records({place: RecordsToDelete(before)})
        finally:
            await admin.close()


@asynccontextmanager
async def opened(name: str, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    if name == "memory":
        yield MemoryCluster()
    elif name == "simulation":
        cluster = SimCluster()
        watching = asyncio.create_task(cluster.broker.watch())
        yield cluster
        watching.cancel()
    else:
        settings: KafkaSettings = request.getfixturevalue("kafka")
        await ensure_topics(settings, PLANS)
        metrics = Metrics(CollectorRegistry())
        async with Publisher(settings, metrics, client_id="contract") as publisher:
            yield KafkaCluster(settings, publisher)


@pytest.fixture(params=["memory", "simulation", "kafka"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """Open each broker in turn."""
    async with opened(request.param, request) as one:
        yield one


@pytest.fixture(params=["simulation", "kafka"])
async def group(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """Open the brokers that support more than one member."""
    async with opened(request.param, request) as one:
        yield one


class Heard:
    """A listener that records its calls."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.partitions: list[Partition] = []

    async def on_revoked(self) -> None:
        self.told.append("revoked")

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        self.told.append("assigned")
        self.partitions = sorted(partitions)


@asynccontextmanager
async def joined(cluster: Cluster) -> AsyncIterator[tuple[GroupClient, Heard]]:
    """Join a member; it leaves when the block ends."""
    client, heard = cluster.member(), Heard()
    async with asyncio.timeout(WITHIN_S):
        await client.start(heard)
    try:
        yield client, heard
    finally:
        async with asyncio.timeout(WITHIN_S):
            await client.stop()


async def fetched(
    client: GroupClient, partition: Partition, count: int, *, most: int = 100
) -> list[tuple[int, bytes]]:
    """Fetch this number of records of one partition, by as many calls as needed."""
    found: list[tuple[int, bytes]] = []
    async with asyncio.timeout(WITHIN_S):
        while len(found) < count:
            for place, stretch in await client.fetch([partition], max_records=most, timeout_s=0.2):
                assert place == partition
                assert len(stretch.records) <= most
                assert stretch.end == stretch.start + len(stretch.records)
                found += [(offset, record.value) for offset, _, record in stretch.records]
    return found


class TestMembers:
    async def test_a_lone_member_is_given_everything_and_has_a_name(self, cluster: Cluster) -> None:
        async with joined(cluster) as (client, heard):
            assert heard.partitions == PARTITIONS
            assert heard.told[-2:] == ["revoked", "assigned"], "revoked first, even the first time"
            assert client.member_id

    async def test_the_bounds_are_those_of_the_log(self, cluster: Cluster) -> None:
        await cluster.append(P1, [b"a", b"b"])
        async with joined(cluster) as (client, _):
            assert await client.bounds([P0, P1]) == {P0: (0, 0, 0), P1: (0, 2, 2)}

    async def test_an_evicted_member_can_prove_nothing(self, cluster: Cluster) -> None:
        async with joined(cluster) as (client, _):
            await client.prove({P0: 0})
            await cluster.evict(client.member_id)

            with pytest.raises(NotAMember):
                await client.prove({P0: 0})

    async def test_partitions_are_shared_and_taken_back(self, group: Cluster) -> None:
        async with joined(group) as (_, first):
            before = len(first.told)
            async with joined(group) as (_, second):
                async with asyncio.timeout(WITHIN_S):
                    while sorted(first.partitions + second.partitions) != PARTITIONS:
                        await asyncio.sleep(0.02)
                assert first.told[before : before + 2] == ["revoked", "assigned"]
            async with asyncio.timeout(WITHIN_S):
                while first.partitions != PARTITIONS:
                    await asyncio.sleep(0.02)

    async def test_who_has_left_can_do_nothing_any_more(self, group: Cluster) -> None:
        async with joined(group) as (client, _):
            pass
        with pytest.raises(BrokerAway):
            await client.prove({P0: 0})


class TestFetches:
    async def test_records_come_in_order_once_from_where_was_sought(self, cluster: Cluster) -> None:
        await cluster.append(P0, [b"%d" % n for n in range(20)])
        async with joined(cluster) as (client, _):
            client.seek(P0, 5)
            found = await fetched(client, P0, 15, most=4)
            assert found == [(n, b"%d" % n) for n in range(5, 20)]

            client.seek(P0, 17)
            assert [offset for offset, _ in await fetched(client, P0, 3)] == [17, 18, 19]

    async def test_what_was_not_asked_for_does_not_come(self, cluster: Cluster) -> None:
        await cluster.append(P0, [b"a"])
        await cluster.append(P1, [b"b"])
        async with joined(cluster) as (client, _):
            client.seek(P0, 0)
            client.seek(P1, 0)
            assert await client.fetch([], max_records=9, timeout_s=0.3) == []
            assert await fetched(client, P1, 1) == [(0, b"b")]

    async def test_a_partition_of_nobody_cannot_be_sought(self, cluster: Cluster) -> None:
        async with joined(cluster) as (client, _):
            with pytest.raises(NotAMember):
                client.seek(Partition(TOPIC.name, 77), 0)

    async def test_an_offset_before_the_logs_start_is_said(self, group: Cluster) -> None:
        await group.append(P0, [b"%d" % n for n in range(6)])
        await group.cut(P0, 4)
        async with joined(group) as (client, _):
            assert (await client.bounds([P0]))[P0] == (4, 6, 6)
            client.seek(P0, 1)
            with pytest.raises(OutOfLog) as error:
                await fetched(client, P0, 1)
            assert error.value.partitions == [P0]
            client.seek(P0, 4)
            assert await fetched(client, P0, 2) == [(4, b"4"), (5, b"5")]

    async def test_a_seek_during_a_fetch_is_not_forgotten(self, group: Cluster) -> None:
        await group.append(P0, [b"%d" % n for n in range(9)])
        async with joined(group) as (client, _):
            client.seek(P0, 9)
            fetching = asyncio.create_task(client.fetch([P0], max_records=9, timeout_s=0.3))
            await asyncio.sleep(0.05)
            client.seek(P0, 2)
            early = [offset for _, stretch in await fetching for offset, _, _ in stretch.records]
            late = [offset for offset, _ in await fetched(client, P0, 7 - len(early))]
            assert early + late == list(range(2, 9))


class TestPublishers:
    async def test_each_record_has_its_place_in_the_order_of_its_key(
        self, cluster: Cluster
    ) -> None:
        records = [Record(OUT.name, b"same", (("h", b"\xff"),), b"%d" % n) for n in range(5)]
        publisher = cluster.publisher()
        assert await publisher.publish([]) == []

        places = await publisher.publish(records)

        assert all(isinstance(place, Place) and place.topic == OUT.name for place in places)
        offsets = [place.offset for place in places if isinstance(place, Place)]
        assert offsets == sorted(set(offsets))
        assert len({place.partition for place in places if isinstance(place, Place)}) == 1
