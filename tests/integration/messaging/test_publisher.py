"""The publisher, when broker and producer disagree on sequence numbers."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from core.errors import BrokerAway
from core.messaging.kafka.connection import on_broker
from core.messaging.kafka.producer import Publisher
from core.messaging.kafka.topics import ensure_topics
from core.messaging.limits import ClientLimits
from core.offsets import Place
from core.settings import KafkaSettings
from core.telemetry.metrics import Metrics
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED, plan_topics
from tests.faults.harness.proxy import Faults, Proxy


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
