"""The publisher, when broker and producer disagree on sequence numbers."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry

from core.errors import BrokerAway
from core.messaging.kafka.connection import on_broker
from core.messaging.kafka.producer import FEW, Publisher
from core.messaging.kafka.topics import ensure_topics
from core.messaging.limits import ClientLimits
from core.offsets import Place
from core.settings import KafkaSettings
from core.telemetry.metrics import Metrics
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED, plan_topics
from tests.faults.harness.proxy import Faults, Proxy
from tests.servers import kafka_login


@pytest.fixture
async def publisher(kafka: KafkaSettings) -> AsyncIterator[Publisher]:
    await ensure_topics(kafka, plan_topics())
    async with Publisher(kafka, Metrics(CollectorRegistry()), client_id="test") as opened:
        yield opened


def record(key: bytes) -> Record:
    return Record(IMAGES_ARRIVED.name, key, (), b"{}")


async def places(publisher: Publisher, *keys: bytes) -> list[Place]:
    sent = await publisher.publish([record(key) for key in keys])
    found = [outcome for outcome in sent if isinstance(outcome, Place)]
    assert len(found) == len(keys), sent
    return found


async def test_a_sequence_that_the_broker_refuses_costs_one_call_and_not_the_partition(
    publisher: Publisher, kafka: KafkaSettings
) -> None:
    """As after a restart in which the broker lost the producer's state (aiokafka #1017)."""
    keys = [b"%d" % number for number in range(20)]
    place_of = dict(zip(keys, await places(publisher, *keys), strict=True))
    lost = keys[0]
    other = next(key for key in keys if place_of[key].partition != place_of[lost].partition)
    producer = publisher._producer
    assert producer is not None
    partition = TopicPartition(on_broker(kafka, IMAGES_ARRIVED.name), place_of[lost].partition)
    producer._txn_manager.increment_sequence_number(partition, 7)  # the gap

    refused, went = await publisher.publish([record(lost), record(other)])

    assert isinstance(refused, BrokerAway)
    assert "OutOfOrderSequenceNumber" in str(refused)
    assert isinstance(went, Place)
    again = await places(publisher, lost, other)
    assert [place.partition for place in again] == [
        place_of[lost].partition,
        place_of[other].partition,
    ]
    assert publisher._producer is not producer


@pytest.fixture
async def proxy(kafka: KafkaSettings) -> AsyncIterator[Proxy]:
    await ensure_topics(kafka, plan_topics())
    async with Proxy(int(kafka.bootstrap_servers.rpartition(":")[2])) as opened:
        yield opened


@pytest.fixture
async def loop_errors() -> AsyncIterator[list[dict[str, Any]]]:
    """Collect the errors reported to the event loop, also by garbage collection."""
    gc.collect()  # removes garbage of other tests
    loop, told = asyncio.get_running_loop(), list[dict[str, Any]]()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        yield told
    finally:
        loop.set_exception_handler(before)


def through(kafka: KafkaSettings, proxy: Proxy, limits: ClientLimits) -> Publisher:
    settings = kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{proxy.port}"})
    return Publisher(settings, Metrics(CollectorRegistry()), client_id="test", limits=limits)


async def keys_on_topic(kafka: KafkaSettings) -> list[bytes]:
    """Return the keys of all records of the topic, up to its present end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, **kafka_login(kafka))
    await consumer.start()
    try:
        name = on_broker(kafka, IMAGES_ARRIVED.name)
        parts = [TopicPartition(name, part) for part in range(IMAGES_ARRIVED.partitions)]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        ends = await consumer.end_offsets(parts)
        keys: list[bytes] = []
        async with asyncio.timeout(60):
            while any([await consumer.position(part) < ends[part] for part in parts]):
                for found in (await consumer.getmany(timeout_ms=200)).values():
                    keys += [one.key for one in found]
        return keys
    finally:
        await consumer.stop()


async def until_sent(publisher: Publisher) -> None:
    async with asyncio.timeout(30):
        while not isinstance((await publisher.publish([record(b"after")]))[0], Place):
            await asyncio.sleep(0.1)


async def test_an_outage_is_told_by_outcomes_and_not_by_errors_of_the_event_loop(
    kafka: KafkaSettings, proxy: Proxy, loop_errors: list[dict[str, Any]]
) -> None:
    """The batches that aiokafka keeps, sent in vain or never sent, are removed."""
    limits = ClientLimits(publish_timeout_s=3.0, request_timeout_ms=500)
    async with through(kafka, proxy, limits) as publisher:
        await places(publisher, b"before")
        for _ in range(2):
            proxy.faults = Faults(refuse=True, black_hole=True)
            both = asyncio.gather(
                publisher.publish([record(b"%d" % number) for number in range(50)]),
                publisher.publish([record(b"%d" % number) for number in range(50)]),
            )
            await asyncio.sleep(0.2)  # some have been sent
            proxy.cut_all()
            outcomes = [outcome for sent in await both for outcome in sent]
            assert {type(outcome) for outcome in outcomes} == {BrokerAway}
            proxy.heal()
            await until_sent(publisher)
    gc.collect()
    await asyncio.sleep(0)

    assert loop_errors == []


async def test_a_request_that_is_never_answered_ends_in_an_outcome_and_cancels_nobody(
    kafka: KafkaSettings, proxy: Proxy, loop_errors: list[dict[str, Any]]
) -> None:
    """aiokafka's sender awaits its requests when it is cancelled, here for a minute."""
    limits = ClientLimits(publish_timeout_s=1.0, request_timeout_ms=60_000)
    async with through(kafka, proxy, limits) as publisher:
        await until_sent(publisher)
        proxy.faults = Faults(black_hole=True)

        async with asyncio.timeout(30):
            (outcome,) = await publisher.publish([record(b"lost")])

        assert isinstance(outcome, BrokerAway)
        proxy.heal()
        await until_sent(publisher)
    gc.collect()
    await asyncio.sleep(0)

    assert loop_errors == []


async def until_doubtful(publisher: Publisher) -> None:
    async with asyncio.timeout(30):
        while not publisher._is_doubtful():
            await asyncio.sleep(0.1)


async def test_records_that_a_hanging_broker_takes_and_does_not_answer_are_few(
    kafka: KafkaSettings, proxy: Proxy
) -> None:
    """It carries out what it was sent once it goes on, as after SIGSTOP, and all is sent again."""
    backlog = [record(b"backlog-%d" % number) for number in range(400)]
    limits = ClientLimits(publish_timeout_s=1.0, request_timeout_ms=60_000)
    async with through(kafka, proxy, limits) as publisher:
        await until_sent(publisher)
        await until_doubtful(publisher)
        proxy.faults = Faults(black_hole=True)
        for _ in range(2):
            assert {type(sent) for sent in await publisher.publish(backlog)} == {BrokerAway}

        proxy.heal()
        waiting = backlog
        async with asyncio.timeout(60):
            while waiting:
                sent = await publisher.publish(waiting)
                waiting = [
                    one
                    for one, outcome in zip(waiting, sent, strict=True)
                    if not isinstance(outcome, Place)
                ]
        await until_sent(publisher)  # nothing is under way now

    arrived = await keys_on_topic(kafka)
    assert set(arrived) >= {one.key for one in backlog}
    assert len([key for key in arrived if key.startswith(b"backlog")]) <= len(backlog) + 2 * FEW
