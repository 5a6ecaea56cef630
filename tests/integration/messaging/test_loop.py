"""The loop on a real broker and a real database, without faults."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from core.errors import ConfigurationError, ProcessCrashed, RecordBroke, RecordRefused
from core.messaging.kafka.log_ends import log_bounds
from core.messaging.limits import LoopLimits
from core.messaging.loop import run_role
from core.messaging.preparing import MOST_BROKEN_IN_A_ROW
from core.settings import ConsumerSettings, DatabaseSettings, KafkaSettings
from core.storage.stream.progress import reset
from schemas.record import Record
from tests.counting import (
    GROUP,
    OUT,
    TOPIC,
    Bench,
    CountingRole,
    eventually,
    open_bench,
    produce,
    record_of,
)
from tests.servers import kafka_login


async def run_until(bench: Bench, condition: Any, *, within_s: float = 30.0) -> None:
    """Run a member until the condition holds, then stop it cleanly."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_role(bench.parts, stop))
    waiting = asyncio.create_task(eventually(condition, within_s=within_s))
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        await task
        raise AssertionError("the role ended by itself")
    stop.set()
    async with asyncio.timeout(40):
        await task
    await waiting


def finished(bench: Bench, count: int) -> Callable[[], Awaitable[bool]]:
    """Return whether progress has passed this many records, whatever their outcome."""

    async def condition() -> bool:
        return sum((await bench.progress()).values()) >= count

    return condition


async def committed(kafka: KafkaSettings) -> dict[int, int | None]:
    """Return the group's committed offsets in Kafka."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers,
        **kafka_login(kafka),
        group_id=kafka.topic_prefix + GROUP,
    )
    await consumer.start()
    try:
        name = kafka.topic_prefix + TOPIC.name
        return {
            part: await consumer.committed(TopicPartition(name, part))
            for part in range(TOPIC.partitions)
        }
    finally:
        await consumer.stop()


async def read_all(kafka: KafkaSettings, topic: str, count: int) -> list[Any]:
    """Return the first records of a topic."""
    consumer = AIOKafkaConsumer(
        kafka.topic_prefix + topic,
        bootstrap_servers=kafka.bootstrap_servers,
        **kafka_login(kafka),
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        found: list[Any] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
        return found
    finally:
        await consumer.stop()


async def test_every_record_has_its_effect_once_and_progress_stands_at_the_logs_end(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(500)])

        await run_until(bench, finished(bench, 500))

        assert await bench.effects() == Counter(range(500))
        ends = {part: log.end for part, log in (await log_bounds(kafka, TOPIC)).items()}
        assert await bench.progress() == ends


async def test_stopping_loses_nothing_and_leaves_kafkas_commit_and_the_rows_right(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    role = CountingRole(prepare_s=0.05)
    settings = ConsumerSettings(instance="a", batch_max_records=10)
    async with open_bench(kafka, database, role=role, consumer=settings) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(300)])

        await run_until(bench, finished(bench, 50))  # stopped in the middle

        progress = await bench.progress()
        assert 50 <= sum(progress.values()) < 300
        assert sum((await bench.effects()).values()) == sum(progress.values())
        assert await committed(kafka) == progress
        owners = await bench.pool.fetch("SELECT DISTINCT owner FROM progress")
        assert [row["owner"] for row in owners] == [""]

    async with open_bench(kafka, database) as bench:  # a new member continues where this one ended
        await run_until(bench, finished(bench, 300))
        assert await bench.effects() == Counter(range(300))
        assert await bench.pool.fetchval("SELECT max(crashes) FROM progress") == 0


async def test_an_outage_in_prepare_replays_the_batch_before_any_effect(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    role = CountingRole(away=2)
    async with open_bench(kafka, database, role=role) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(20)])

        await run_until(bench, finished(bench, 20))

        assert await bench.effects() == Counter(range(20))
        retries = bench.metrics.consumer_retries.labels(GROUP, "prepare")._value.get()
        assert retries == 2


async def test_a_record_that_is_no_event_costs_itself_only(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database) as bench:
        bad = Record(TOPIC.name, b"1", (("h", b"\xff"), ("h", b"2")), b"\x00nonsense")
        await produce(bench.publisher, [record_of(1), bad, record_of(2), record_of(3)])

        await run_until(bench, finished(bench, 4))

        assert await bench.effects() == Counter([1, 2, 3])
        row = await bench.pool.fetchrow("SELECT * FROM dead_letters")
        assert row is not None
        assert (row["reason"], row["value"], row["key"]) == ("undecodable_event", bad.value, b"1")
        (copy,) = await read_all(kafka, f"{TOPIC.name}.{GROUP}.dlq", 1)
        assert copy.value == bad.value
        assert copy.headers[:2] == bad.headers
        assert dict(copy.headers[2:])["dlq_reason"] == b"undecodable_event"
        assert await bench.outbox.count(bound=10) == 0


async def test_a_record_that_postgresql_refuses_is_told_to_the_role_and_costs_itself_only(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    role = CountingRole()
    async with open_bench(kafka, database, role=role) as bench:
        records = [record_of(n, "refuse" if n == 7 else "") for n in range(40)]
        records[20] = record_of(20, "refuse-always")
        await produce(bench.publisher, records)

        await run_until(bench, finished(bench, 40))

        assert await bench.effects() == Counter(set(range(40)) - {7, 20})
        assert await bench.dead_letters() == {7: "database_refused", 20: "database_refused"}
        assert {type(error) for error in role.failures} == {RecordRefused}


async def test_a_record_that_the_role_rejects_becomes_a_dead_letter(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database) as bench:
        await produce(bench.publisher, [record_of(1), record_of(2, "reject")])

        await run_until(bench, finished(bench, 2))

        assert await bench.effects() == Counter([1])
        assert await bench.dead_letters() == {2: "asked_for"}


async def test_a_record_whose_preparing_breaks_costs_itself_only_and_says_how(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    role = CountingRole()
    async with open_bench(kafka, database, role=role) as bench:
        records = [record_of(n, "bug" if n in {7, 8, 31} else "") for n in range(40)]
        records[20] = record_of(20, "broken once")
        await produce(bench.publisher, records)

        await run_until(bench, finished(bench, 40))

        assert await bench.effects() == Counter(set(range(40)) - {7, 8, 31})
        assert await bench.dead_letters() == dict.fromkeys((7, 8, 31), "unexpected_error")
        details = await bench.pool.fetch("SELECT detail FROM dead_letters")
        assert {row["detail"].partition(":")[0] for row in details} == {
            "ZeroDivisionError while it was prepared"
        }
        assert {type(error) for error in role.failures} == {RecordBroke}


async def test_what_breaks_record_after_record_ends_the_process_and_costs_none(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database) as bench:
        await produce(bench.publisher, [record_of(n, "bug") for n in range(60)])

        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(60):
                await run_role(bench.parts, asyncio.Event())

        assert len(await bench.dead_letters()) <= MOST_BROKEN_IN_A_ROW


async def test_a_record_whose_decoding_breaks_costs_itself_only_and_says_how(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database) as bench:
        deep = Record(TOPIC.name, b"1", (), b"[" * 100_000)  # RecursionError in json
        await produce(bench.publisher, [record_of(1), deep, record_of(2)])

        await run_until(bench, finished(bench, 3))

        assert await bench.effects() == Counter([1, 2])
        row = await bench.pool.fetchrow("SELECT reason, detail FROM dead_letters")
        assert row is not None
        assert row["reason"] == "unexpected_error"
        assert row["detail"].startswith("RecursionError while it was decoded")


async def test_a_bug_ends_the_loop_and_nothing_of_its_batch_is_committed(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database) as bench:
        await produce(bench.publisher, [record_of(1, "bug in apply")])

        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(30):
                await run_role(bench.parts, asyncio.Event())

        assert await bench.effects() == Counter()
        assert sum((await bench.progress()).values()) == 0


async def test_what_a_role_emits_is_published_and_leaves_the_outbox_empty(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database, role=CountingRole(emit=True)) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(200)])

        await run_until(bench, finished(bench, 200))

        found = await read_all(kafka, OUT.name, 200)
        assert Counter(int(record.key) for record in found) == Counter(range(200))
        assert await bench.outbox.count(bound=1000) == 0


async def test_a_stolen_partition_costs_its_own_records_not_the_batch(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    role = CountingRole(gate=asyncio.Event())
    settings = ConsumerSettings(instance="a", batch_max_records=1000)
    async with open_bench(kafka, database, role=role, consumer=settings) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(200)])
        stop = asyncio.Event()
        running = asyncio.create_task(run_role(bench.parts, stop))
        assert role.gate is not None

        async def claimed() -> bool:
            return len(await bench.progress()) == TOPIC.partitions

        await eventually(claimed)
        stolen = "UPDATE progress SET epoch = epoch + 1, owner = 'thief' WHERE part = 2"
        await bench.pool.execute(stolen)
        role.gate.set()  # batches prepared before the other claim are committed now

        await eventually(finished(bench, 200))
        stop.set()
        await running

        assert await bench.effects() == Counter(range(200))
        assert bench.metrics.consumer_fenced.labels(GROUP)._value.get() >= 1


async def test_a_partition_whose_log_was_cut_halts_with_the_count_and_the_others_go_on(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(100)])
        await run_until(bench, finished(bench, 100))
        before = await bench.progress()
        await bench.pool.execute(
            "UPDATE progress SET next_offset = next_offset - 5 WHERE part IN (0, 1)"
        )
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers, **kafka_login(kafka))
        await admin.start()
        cut = {TopicPartition(kafka.topic_prefix + TOPIC.name, 0): RecordsToDelete(before[0] - 2)}
        await admin.delete_records(cut)
        await admin.close()

    async with open_bench(kafka, database) as bench:
        halted = bench.metrics.consumer_halted.labels(GROUP, TOPIC.name, "0", "below_log_start")

        async def others_done() -> bool:
            progress = await bench.progress()
            return progress[1] == before[1] and halted._value.get() == 1

        await run_until(bench, others_done)
        assert (await bench.progress())[0] == before[0] - 5

        bounds = await log_bounds(kafka, TOPIC)  # as the operator's reset command does
        await reset(bench.pool, group=GROUP, topic=TOPIC.name, offsets={0: bounds[0][0]})

    async with open_bench(kafka, database) as bench:

        async def all_done() -> bool:
            return await bench.progress() == before

        await run_until(bench, all_done)


@pytest.mark.parametrize("column", ["cluster_id", "topic_id"])
async def test_progress_of_another_cluster_or_topic_ends_the_process_and_names_the_remedy(
    kafka: KafkaSettings, database: DatabaseSettings, column: str
) -> None:
    async with open_bench(kafka, database) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(20)])
        await run_until(bench, finished(bench, 20))
        await bench.pool.execute(f"UPDATE progress SET {column} = 'other'")

    async with open_bench(kafka, database) as bench:
        with pytest.raises(ConfigurationError, match="photo-archive reset counting"):
            async with asyncio.timeout(30):
                await run_role(bench.parts, asyncio.Event())


async def test_a_partition_that_dead_letters_most_of_its_records_halts(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    settings = ConsumerSettings(instance="a", batch_max_records=5)
    limits = LoopLimits(dead_letter_window=20)
    async with open_bench(kafka, database, consumer=settings, limits=limits) as bench:
        bad = [Record(TOPIC.name, b"same", (), b"x") for _ in range(200)]
        await produce(bench.publisher, bad)

        async def halted() -> bool:
            return any(
                sample.value == 1
                for metric in bench.metrics.consumer_halted.collect()
                for sample in metric.samples
                if sample.labels["reason"] == "dead_letter_budget"
            )

        await run_until(bench, halted)

        letters = await bench.pool.fetchval("SELECT count(*) FROM dead_letters")
        assert 10 < letters <= 25  # half of the window, and the batch that exceeded it


async def test_a_record_that_kills_the_process_is_told_to_the_role_after_enough_deaths(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    role = CountingRole()
    async with open_bench(kafka, database, role=role) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(30)])
        await run_until(bench, finished(bench, 30))
        # The row of partition 2 as after five deaths in a row.
        await bench.pool.execute("DELETE FROM effects WHERE part = 2")
        await bench.pool.execute(
            "UPDATE progress SET next_offset = 0, attempted_offset = 0, claimed_offset = 0,"
            " isolate_until = 1, crashes = 4, owner = 'the dead' WHERE part = 2"
        )

    async with open_bench(kafka, database, role=role) as bench:
        await run_until(bench, finished(bench, 30))

        assert [type(error) for error in role.failures] == [ProcessCrashed]
        assert list((await bench.dead_letters()).values()) == ["process_crashed"]
        assert sum((await bench.effects()).values()) == 29
        crashes = await bench.pool.fetchval("SELECT max(crashes) FROM progress")
        assert crashes == 0
