"""The publisher over a producer that misbehaves as aiokafka's does."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
)
from prometheus_client import CollectorRegistry

from core.errors import BrokerAway, PermanentError
from core.messaging.kafka.producer import FEW, Publisher
from core.messaging.limits import ClientLimits
from core.offsets import Place
from core.settings import KafkaSettings
from core.telemetry.metrics import Metrics
from schemas.record import Record

SETTINGS = KafkaSettings(topic_prefix="p.")
LIMITS = ClientLimits(publish_timeout_s=0.1)


class Producer:
    """Acknowledges, refuses or hangs by the record's value."""

    made: "list[Producer]"

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.sent: list[tuple[str, bytes]] = []
        self.stopped = False
        self.failed: Exception | None = None
        self._sender = SimpleNamespace(sender_task=asyncio.ensure_future(asyncio.Event().wait()))
        self._message_accumulator = SimpleNamespace(fail_all=self._fail_all, _batches={})

    def _fail_all(self, error: Exception) -> None:
        self.failed = error

    async def start(self) -> None:
        pass

    async def flush(self) -> None:
        pass

    async def stop(self) -> None:
        self.stopped = True

    async def send(self, topic: str, value: bytes, *, key: Any, headers: Any) -> Any:
        if topic == "p.missing":
            await asyncio.Event().wait()  # aiokafka waits for metadata that never comes
        self.sent.append((topic, value))
        future = asyncio.get_running_loop().create_future()
        if value == b"large":
            raise MessageSizeTooLargeError("too large")
        if value == b"refused later":
            future.set_exception(MessageSizeTooLargeError("broker says no"))
        elif value == b"out of step":
            future.set_exception(OutOfOrderSequenceNumber())
        elif value != b"hangs":
            told = SimpleNamespace(topic=topic, partition=1, offset=len(self.sent))
            future.set_result(told)
        return future


class Factory:
    """Counts what it makes; may be unable to start."""

    def __init__(self) -> None:
        self.made: list[Producer] = []
        self.unreachable = False

    def __call__(self, **options: Any) -> Producer:
        producer = Producer(**options)
        self.made.append(producer)
        if self.unreachable:
            producer.start = _refuse  # type: ignore[method-assign]
        return producer


async def _refuse() -> None:
    raise KafkaConnectionError("nobody there")


def record(value: bytes) -> Record:
    return Record("topic", None, (), value)


@pytest.fixture
def factory() -> Factory:
    return Factory()


@pytest.fixture
def publisher(factory: Factory) -> Publisher:
    return Publisher(
        SETTINGS, Metrics(CollectorRegistry()), client_id="c", limits=LIMITS, make=factory
    )


async def test_each_record_has_its_own_outcome(publisher: Publisher, factory: Factory) -> None:
    values = [b"good", b"large", b"hangs", b"refused later", b"good"]

    async with publisher:
        sent = await publisher.publish([record(value) for value in values])

    kinds = [type(outcome) for outcome in sent]
    assert kinds == [Place, PermanentError, BrokerAway, PermanentError, Place]
    assert sent[0] == Place("topic", 1, 1), "the logical name, without the prefix"
    assert factory.made[0].sent[0][0] == "p.topic"
    assert len(factory.made) == 1, "a producer that sends something is kept"


async def test_a_topic_that_is_missing_holds_up_no_other(
    publisher: Publisher, factory: Factory
) -> None:
    missing = Record("missing", None, (), b"good")
    async with publisher:
        sent = await publisher.publish([missing, record(b"good"), missing, record(b"good")])

    assert [type(outcome) for outcome in sent] == [BrokerAway, Place, BrokerAway, Place]


async def test_a_producer_that_sends_nothing_is_replaced_and_what_it_holds_is_failed(
    publisher: Publisher, factory: Factory
) -> None:
    async with publisher:
        assert isinstance((await publisher.publish([record(b"hangs")]))[0], BrokerAway)
        assert isinstance((await publisher.publish([record(b"good")]))[0], Place)

    first, second = factory.made
    assert first.failed is not None
    assert first._sender.sender_task.cancelled()
    assert (first.stopped, second.stopped) == (True, True)


async def test_a_new_producer_is_asked_with_few_records_and_given_the_rest_when_one_is_answered(
    publisher: Publisher, factory: Factory
) -> None:
    hanging = [Record("topic", b"%d" % number, (), b"hangs") for number in range(100)]
    good = [Record("topic", b"%d" % (number % 50), (), b"%d" % number) for number in range(100)]
    async with publisher:
        assert {type(sent) for sent in await publisher.publish(hanging)} == {BrokerAway}
        assert {type(sent) for sent in await publisher.publish([hanging[0], *good])} == {
            BrokerAway,
            Place,
        }
        assert {type(sent) for sent in await publisher.publish(hanging)} == {BrokerAway}

    first, second = factory.made
    assert len(first.sent) == FEW, "the broker may take what it does not answer"
    values = [value for _, value in second.sent if value != b"hangs"]
    assert [v for v in values if int(v) % 50 == 3] == [b"3", b"53"], "a key keeps its order"
    assert len(values) == 100
    assert len(second.sent) == 1 + 100 + 100, "it answered just now"


async def test_a_producer_that_lost_one_partition_is_replaced_though_others_were_sent(
    publisher: Publisher, factory: Factory
) -> None:
    async with publisher:
        sent = await publisher.publish([record(b"good"), record(b"out of step"), record(b"good")])
        again = await publisher.publish([record(b"good")])

    assert [type(outcome) for outcome in sent] == [Place, BrokerAway, Place]
    assert isinstance(again[0], Place)
    first, second = factory.made
    assert [value for _, value in second.sent] == [b"good"]
    assert first.stopped


async def test_a_dead_sender_is_replaced(publisher: Publisher, factory: Factory) -> None:
    async with publisher:
        await publisher.publish([record(b"good")])
        factory.made[0]._sender.sender_task.cancel()
        await asyncio.sleep(0)
        await publisher.publish([record(b"good")])
        assert isinstance((await publisher.publish([record(b"good")]))[0], Place)
    assert len(factory.made) == 2


async def test_nobody_there_is_an_outcome_and_the_next_call_tries_again(
    publisher: Publisher, factory: Factory
) -> None:
    factory.unreachable = True
    async with publisher:
        sent = await publisher.publish([record(b"a"), record(b"b")])
        assert [type(outcome) for outcome in sent] == [BrokerAway, BrokerAway]
        factory.unreachable = False
        assert isinstance((await publisher.publish([record(b"a")]))[0], Place)
    assert factory.made[0].stopped


async def test_nothing_to_publish_needs_no_broker(publisher: Publisher, factory: Factory) -> None:
    assert await publisher.publish([]) == []
    assert factory.made == []
