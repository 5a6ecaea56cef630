"""Defects of aiokafka while the broker cannot be reached: calls that hang, are late, or raise.

As in test_aiokafka_traps.py, a test that fails names the workaround that is no longer needed.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from core.messaging.kafka.topics import ensure_topics
from core.settings import KafkaSettings
from tests.counting import OUT, PLANS
from tests.faults.harness.proxy import Faults, Proxy
from tests.integration.messaging.raw import fill, lasts, made, member, place
from tests.integration.messaging.test_loop import read_all
from tests.servers import kafka_login

HUNG_S = 2.5  # more than twice the request's limit


@pytest.fixture
async def proxy(kafka: KafkaSettings) -> AsyncIterator[Proxy]:
    """Start a proxy before the session's broker, which has the topics."""
    await ensure_topics(kafka, PLANS)
    async with Proxy(int(kafka.bootstrap_servers.rpartition(":")[2])) as opened:
        yield opened


@pytest.fixture
def through(kafka: KafkaSettings, proxy: Proxy) -> KafkaSettings:
    """Return settings of the broker behind the proxy."""
    return kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{proxy.port}"})


def gone(proxy: Proxy) -> None:
    """Wait until the broker's process has ended."""
    proxy.faults = Faults(refuse=True)
    proxy.cut_all()


async def ended(work: "asyncio.Future[object] | None") -> None:
    """Let a hanging call end."""
    if work is not None:
        await asyncio.wait({work}, timeout=15)
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
        elif not work.cancelled():
            work.exception()


async def test_a_commit_hangs_hence_its_time_limit(through: KafkaSettings, proxy: Proxy) -> None:
    """`COMMIT_TIMEOUT_S` around every commit."""
    async with member(through, request_timeout_ms=1000) as consumer:
        gone(proxy)

        hung = await lasts(consumer.commit({place(through, 0): 0}), HUNG_S)

        assert hung is not None
        proxy.heal()
        await ended(hung)


@pytest.mark.parametrize("is_idempotent", [True, False])
async def test_an_idempotent_send_hangs_hence_the_publishers_deadline(
    through: KafkaSettings, proxy: Proxy, *, is_idempotent: bool
) -> None:
    """`Publisher._publish`: the limit is ours. Without idempotence aiokafka gives up by itself."""
    producer = AIOKafkaProducer(
        bootstrap_servers=through.bootstrap_servers,
        **kafka_login(through),
        enable_idempotence=is_idempotent,
        request_timeout_ms=1000,
    )
    await producer.start()
    await producer.send_and_wait(through.topic_prefix + OUT.name, b"first")
    gone(proxy)

    hung = await lasts(producer.send_and_wait(through.topic_prefix + OUT.name, b"late"), HUNG_S)

    assert (hung is not None) == is_idempotent
    proxy.heal()
    await ended(hung)
    await producer.stop()


async def test_a_stop_with_unsent_records_hangs_hence_the_producer_is_abandoned(
    through: KafkaSettings, proxy: Proxy
) -> None:
    """`core.messaging.kafka.abandoning.abandon` ends the sender by hand."""
    producer = AIOKafkaProducer(
        bootstrap_servers=through.bootstrap_servers,
        **kafka_login(through),
        enable_idempotence=True,
        request_timeout_ms=1000,
    )
    await producer.start()
    await producer.send_and_wait(through.topic_prefix + OUT.name, b"first")
    gone(proxy)
    sent = await producer.send(through.topic_prefix + OUT.name, b"late")

    hung = await lasts(producer.stop(), HUNG_S)

    assert hung is not None
    proxy.heal()
    await ended(hung)
    await asyncio.wait({sent}, timeout=5)


async def test_a_record_given_up_arrives_later_hence_ids_make_repeats_harmless(
    kafka: KafkaSettings, through: KafkaSettings, proxy: Proxy
) -> None:
    """`Publisher`: an outcome `BrokerAway` says nothing about the record."""
    producer = AIOKafkaProducer(
        bootstrap_servers=through.bootstrap_servers,
        **kafka_login(through),
        enable_idempotence=True,
        request_timeout_ms=1000,
    )
    await producer.start()
    try:
        await producer.send_and_wait(through.topic_prefix + OUT.name, b"first")
        gone(proxy)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await producer.send_and_wait(through.topic_prefix + OUT.name, b"given up")
        proxy.heal()

        told = await read_all(kafka, OUT.name, 2)
    finally:
        await producer.stop()

    assert {record.value for record in told} == {b"first", b"given up"}  # several partitions


async def test_stopping_a_consumer_raises_cancellation_hence_it_is_told_from_our_own(
    through: KafkaSettings, proxy: Proxy
) -> None:
    """`GroupConsumer.stop` swallows a CancelledError that nobody asked for.

    It depends on where the fetcher is at the moment: hence several tries.
    """
    for _ in range(6):
        consumer = made(through, request_timeout_ms=1000)
        await consumer.start()
        await consumer.getmany(timeout_ms=300)
        gone(proxy)
        await asyncio.sleep(1.0)
        task = asyncio.ensure_future(consumer.stop())
        await asyncio.wait({task}, timeout=10)
        assert task.done()
        if task.cancelled():  # without a call of cancel()
            return
        proxy.heal()
    pytest.fail("it raises CancelledError no more: GroupConsumer.stop may be simpler")


async def test_pausing_throws_away_what_was_fetched_hence_nothing_is_paused(
    through: KafkaSettings, proxy: Proxy, kafka: KafkaSettings
) -> None:
    """`Intake` stops asking instead: what lies ready in the client stays there."""
    await fill(kafka, 0, 50)
    async with member(through) as consumer:
        left = []
        for is_paused in (False, True):
            await consumer.seek_to_beginning(place(kafka, 0))
            assert await consumer.getone() is not None
            await asyncio.sleep(0.5)  # the rest has been fetched
            proxy.faults = Faults(black_hole=True)
            if is_paused:
                consumer.pause(place(kafka, 0))
                await consumer.getmany(place(kafka, 0), timeout_ms=200)
                consumer.resume(place(kafka, 0))
            found = await consumer.getmany(place(kafka, 0), timeout_ms=500)
            left.append(sum(len(records) for records in found.values()))
            proxy.heal()
    assert left == [49, 0]


async def test_errors_of_the_network_are_kafka_errors_or_os_errors(
    through: KafkaSettings, proxy: Proxy
) -> None:
    """`connection.translated` catches both, and the limit's own error."""
    gone(proxy)
    consumer = made(through, request_timeout_ms=1000)
    with pytest.raises((KafkaError, OSError)):
        async with asyncio.timeout(10):
            await consumer.start()
    await consumer.stop()
