"""Defects of aiokafka that the runtime works around, on the pinned version and a real broker.

If a test fails after an upgrade, the workaround in its name or docstring is no longer needed.
"""

import asyncio
import inspect
import pkgutil
from importlib import import_module

import aiokafka.protocol
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.coordinator import assignors
from aiokafka.errors import IllegalStateError, MessageSizeTooLargeError, UnknownError, for_code

from core.messaging.kafka.topics import ensure_topics
from core.settings import KafkaSettings
from tests.counting import PLANS, TOPIC
from tests.integration.messaging.raw import Callbacks, fill, made, member, place, until
from tests.servers import kafka_login


@pytest.fixture(autouse=True)
async def topics(kafka: KafkaSettings) -> None:
    await ensure_topics(kafka, PLANS)


async def test_a_cancelled_fetch_hides_idle_time_hence_fetches_are_shielded(
    kafka: KafkaSettings,
) -> None:
    """`GroupConsumer.fetch`: the call that is cancelled leaves `getmany` itself running."""
    async with member(kafka) as consumer:
        fetching = asyncio.ensure_future(consumer.getmany(timeout_ms=5000))
        await asyncio.sleep(0.2)
        fetching.cancel()
        await asyncio.wait({fetching})

        await asyncio.sleep(0.3)
        assert consumer._subscription.fetcher_idle_time == 0, "for ever: `fetch_context`"


async def test_records_come_before_the_assigned_callback_ends_hence_our_own_gate(
    kafka: KafkaSettings,
) -> None:
    """`Tracker.judge`: a record counts only after our claim."""
    await fill(kafka, 0, 3)
    release = asyncio.Event()
    consumer = made(kafka, Callbacks(assigned=release.wait))  # type: ignore[arg-type]  # gives True
    starting = asyncio.ensure_future(consumer.start())
    try:
        await until(lambda: bool(consumer.assignment()))
        found = await consumer.getmany(timeout_ms=5000)
        assert sum(len(records) for records in found.values()) == 3
        assert not release.is_set()
    finally:
        release.set()
        await starting
        await consumer.stop()


async def test_the_assignment_is_the_old_one_until_the_join_ends_hence_our_own_token(
    kafka: KafkaSettings,
) -> None:
    """`Tracker.revoked`: `assignment()` is never asked what is ours."""
    seen: list[int] = []
    callbacks = Callbacks()
    async with member(kafka, callbacks) as first:
        before = len(first.assignment())

        async def look() -> None:
            seen.append(len(first.assignment()))
            await asyncio.sleep(0.5)
            seen.append(len(first.assignment()))

        callbacks.revoked = look
        async with member(kafka):
            await until(lambda: len(seen) == 2)
    assert seen == [before, before] == [TOPIC.partitions] * 2


async def test_what_a_callback_raises_is_only_logged_hence_the_listener_keeps_its_failure(
    kafka: KafkaSettings,
) -> None:
    """`Member.on_revoked` keeps its error and `Member.run` raises it."""

    async def fail() -> None:
        raise ZeroDivisionError

    async with member(kafka, Callbacks(assigned=fail)) as consumer:
        assert len(consumer.assignment()) == TOPIC.partitions


async def test_a_fetch_in_a_rebalance_overruns_its_time_limit_hence_no_timers_in_the_poll_loop(
    kafka: KafkaSettings,
) -> None:
    """Batches have no timer; `Intake` waits for room with one of its own."""

    async def slowly() -> None:
        await asyncio.sleep(2.5)

    async with member(kafka) as quick, member(kafka, Callbacks(revoked=slowly)) as slow:
        await until(lambda: len(slow.assignment()) == len(quick.assignment()) == 3)
        third = made(kafka)
        joining = asyncio.ensure_future(third.start())
        await until(lambda: quick._subscription.reassignment_in_progress)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await quick.getmany(timeout_ms=100)
        took_s = loop.time() - began
        await joining
        await third.stop()
    assert took_s > 0.5


async def test_an_unassigned_partition_fails_a_whole_commit_hence_they_are_left_out(
    kafka: KafkaSettings,
) -> None:
    """`GroupConsumer.commit` filters by `assignment()`."""
    async with member(kafka) as consumer:
        with pytest.raises(IllegalStateError):
            await consumer.commit({place(kafka, 0): 0, place(kafka, 77): 0})
        assert await consumer.committed(place(kafka, 0)) is None


async def test_a_stale_offset_is_taken_after_a_partition_left_and_came_back_hence_our_epochs(
    kafka: KafkaSettings,
) -> None:
    """The generation is read when a commit is sent, so Kafka's offsets are only advisory."""
    await fill(kafka, 0, 9)
    async with member(kafka) as first:
        await first.commit({place(kafka, 0): 9})
        async with member(kafka):
            await until(lambda: len(first.assignment()) < TOPIC.partitions)
        await until(lambda: len(first.assignment()) == TOPIC.partitions)

        await first.commit({place(kafka, 0): 3})  # computed two generations ago

        assert await first.committed(place(kafka, 0)) == 3


async def test_asking_for_no_partition_asks_for_all_hence_one_of_nobody(
    kafka: KafkaSettings,
) -> None:
    """`GroupConsumer.fetch` with no partitions asks for one that does not exist."""
    await fill(kafka, 0, 3)
    async with member(kafka) as consumer:
        nothing: list[object] = []
        found = await consumer.getmany(*nothing, timeout_ms=5000)
    assert [len(records) for records in found.values()] == [3]


async def test_the_default_begins_at_the_end_hence_offsets_of_our_own(
    kafka: KafkaSettings,
) -> None:
    """`auto_offset_reset="none"`: positions come from the claim."""
    await fill(kafka, 0, 3)
    assert inspect.signature(AIOKafkaConsumer).parameters["auto_offset_reset"].default == "latest"
    async with member(kafka, auto_offset_reset="latest") as consumer:
        assert await consumer.getmany(timeout_ms=700) == {}


async def test_large_records_are_refused_by_the_client_hence_a_larger_request(
    kafka: KafkaSettings,
) -> None:
    """`Publisher`: `max_request_size`; the topic's own limit is what really refuses."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, **kafka_login(kafka))
    await producer.start()
    try:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send(kafka.topic_prefix + TOPIC.name, bytes(1024 * 1024 + 1))
    finally:
        await producer.stop()


@pytest.mark.slow
async def test_no_heartbeat_during_the_assigned_callback_hence_claims_in_a_task(
    kafka: KafkaSettings,
) -> None:
    """`Claimer`: a slow database must not cost the membership."""
    generations: list[int] = []

    async def claim() -> None:
        generations.append(consumer._coordinator.generation)
        await asyncio.sleep(8 if len(generations) == 1 else 0)  # longer than the session

    consumer = made(kafka, Callbacks(assigned=claim))
    await consumer.start()
    try:
        await until(lambda: len(generations) > 1, within_s=25)
    finally:
        await consumer.stop()
    assert generations[1] > generations[0]


async def test_the_rebalance_time_defaults_to_the_sessions_hence_it_is_set(
    kafka: KafkaSettings,
) -> None:
    """`ClientLimits.rebalance_timeout_ms`: a drain takes longer than a session."""
    async with member(kafka) as consumer:
        assert consumer._coordinator._rebalance_timeout_ms == 6000


async def test_a_join_ends_with_the_request_time_hence_that_exceeds_the_rebalances(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """`GroupConsumer._make`: `request_timeout_ms` above `rebalance_timeout_ms`."""

    async def slowly() -> None:
        await asyncio.sleep(2.5)

    async with (
        member(kafka, Callbacks(revoked=slowly), rebalance_timeout_ms=20_000),
        member(kafka, request_timeout_ms=700, rebalance_timeout_ms=20_000),
    ):
        pass
    assert "JoinGroupRequest to node 1 [[Error 7] RequestTimedOutError]" in caplog.text


def test_transactions_are_not_fenced_hence_offsets_lie_in_postgresql() -> None:
    """KIP-447 needs TxnOffsetCommit 3, KIP-890 newer ones still."""
    transaction = import_module("aiokafka.protocol.transaction")
    versions = {
        name: struct.API_VERSION
        for name, struct in vars(transaction).items()
        if hasattr(struct, "API_VERSION") and name.startswith(("TxnOffsetCommit", "EndTxn"))
    }
    assert versions
    assert max(versions.values()) == 0


def test_only_the_eager_protocol_is_spoken_hence_everything_is_drained_at_a_revocation() -> None:
    """No cooperative assignor (#1126), no ConsumerGroupHeartbeat (KIP-848, API 68)."""
    names = {module.name for module in pkgutil.walk_packages(assignors.__path__)}
    assert not {name for name in names if "cooperative" in name}
    keys = {
        getattr(value, "API_KEY", None)
        for module in pkgutil.iter_modules(aiokafka.protocol.__path__)
        for value in vars(import_module(f"aiokafka.protocol.{module.name}")).values()
    }
    assert 9 in keys, "OffsetFetch: the look itself works"
    assert 68 not in keys


def test_topic_ids_are_not_read_hence_a_metadata_request_of_our_own() -> None:
    """`core.messaging.kafka.cluster`: ids came with Metadata 10."""
    metadata = import_module("aiokafka.protocol.metadata")
    versions = [
        struct.API_VERSION
        for name, struct in vars(metadata).items()
        if name.startswith("MetadataRequest") and hasattr(struct, "API_VERSION")
    ]
    assert versions
    assert max(versions) < 10


def test_fencing_of_static_members_is_unknown_hence_dynamic_members_and_eviction() -> None:
    """FENCED_INSTANCE_ID (82) has no class of its own (#1186)."""
    assert for_code(82) is UnknownError


def test_the_fetcher_takes_batches_by_names_that_can_be_replaced() -> None:
    """`core.messaging.kafka.unpacking`: there is no other way to bound what a batch unpacks to."""
    fetcher = import_module("aiokafka.consumer.fetcher").Fetcher
    names = fetcher._proc_fetch_request.__code__.co_names
    assert {"MemoryRecords", "FetchResult"} <= set(names)
    assert "FetchResult" in fetcher.fetched_records.__code__.co_names
