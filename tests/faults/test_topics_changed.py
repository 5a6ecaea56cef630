"""A topic is created again, or its log is cut beyond the next offset, while a member runs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from core.errors import ConfigurationError
from core.messaging.kafka.log_ends import log_bounds
from core.messaging.kafka.topics import ensure_topics
from core.messaging.limits import LoopLimits
from core.messaging.loop import run_role
from core.settings import ConsumerSettings, DatabaseSettings, KafkaSettings
from core.storage.stream.progress import reset
from tests.counting import (
    GROUP,
    PLANS,
    TOPIC,
    CountingRole,
    eventually,
    open_bench,
    produce,
    record_of,
)
from tests.faults.test_runtime_deaths import all_passed
from tests.integration.messaging.test_loop import finished, run_until
from tests.servers import kafka_login

FEW, MANY = 60, 240


@asynccontextmanager
async def administered(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an administrator's connection."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers, **kafka_login(kafka))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def made_anew(kafka: KafkaSettings) -> None:
    """Delete the topic and create it again under the same name."""
    async with administered(kafka) as admin:
        await admin.delete_topics([kafka.topic_prefix + TOPIC.name])
        name = kafka.topic_prefix + TOPIC.name
        async with asyncio.timeout(20):
            while name in await admin.list_topics():
                await asyncio.sleep(0.05)
    await ensure_topics(kafka, PLANS)


async def test_a_topic_made_anew_under_a_running_member_ends_it_and_none_is_skipped_in_silence(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(FEW)])
        member = asyncio.create_task(run_role(bench.parts, asyncio.Event()))
        await all_passed(bench, FEW)

        await made_anew(kafka)
        # More records than before, so that offsets alone do not distinguish the logs.
        await produce(bench.publisher, [record_of(n) for n in range(1000, 1000 + MANY)])

        with pytest.raises(ConfigurationError, match="photo-archive reset counting"):
            async with asyncio.timeout(60):
                await member
        assert await bench.effects() == Counter(range(FEW)), "nothing from its middle"

        starts = {part: log.start for part, log in (await log_bounds(kafka, TOPIC)).items()}
        await reset(bench.pool, group=GROUP, topic=TOPIC.name, offsets=starts)

    async with open_bench(kafka, database) as bench:
        await run_until(bench, finished(bench, MANY))
        assert await bench.effects() == Counter([*range(FEW), *range(1000, 1000 + MANY)])


async def test_a_log_cut_off_under_a_running_member_halts_it_there_and_nowhere_else(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    role = CountingRole(gate=asyncio.Event())
    settings = ConsumerSettings(instance="a", batch_max_records=1)
    limits = LoopLimits(queue_max_records=2)
    async with open_bench(kafka, database, role=role, consumer=settings, limits=limits) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(MANY)])
        ends = {part: log.end for part, log in (await log_bounds(kafka, TOPIC)).items()}
        stop = asyncio.Event()
        member = asyncio.create_task(run_role(bench.parts, stop))
        assert role.gate is not None

        async def claimed() -> bool:
            return len(await bench.progress()) == TOPIC.partitions

        await eventually(claimed)

        async with administered(kafka) as admin:  # as retention does while the role is stopped
            place = TopicPartition(kafka.topic_prefix + TOPIC.name, 0)
            await admin.delete_records({place: RecordsToDelete(ends[0])})
        await produce(bench.publisher, [record_of(n) for n in range(MANY, 2 * MANY)])
        role.gate.set()

        after = {part: log.end for part, log in (await log_bounds(kafka, TOPIC)).items()}
        others = sum(end for part, end in after.items() if part)

        async def others_done() -> bool:
            progress = await bench.progress()
            return sum(offset for part, offset in progress.items() if part) == others

        halted = bench.metrics.consumer_halted.labels(GROUP, TOPIC.name, "0", "below_log_start")

        async def cut_one_is_settled() -> bool:
            # Records that the client had fetched before the cut may have been processed.
            return (await bench.progress())[0] == after[0] or halted._value.get() == 1

        await eventually(others_done, within_s=60)
        await eventually(cut_one_is_settled, within_s=30)
        stood_still = halted._value.get() == 1
        effects = await bench.effects()
        progress = await bench.progress()
        stop.set()
        async with asyncio.timeout(40):
            await member
    assert set(effects.values()) == {1}
    assert sum(effects.values()) == sum(progress.values())
    assert stood_still == (progress[0] < after[0]), "it stands still and says so"
