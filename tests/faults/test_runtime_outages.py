"""Broker or database is killed while a member runs: nothing is lost, nothing happens twice."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Self

import pytest

from core.messaging.loop import run_role
from core.settings import ConsumerSettings, DatabaseSettings, KafkaSettings
from standalone.environment import cache_directory
from standalone.kafka.broker import EmbeddedKafka
from standalone.postgres.server import EmbeddedPostgres
from tests.counting import (
    OUT,
    Bench,
    CountingRole,
    eventually,
    open_bench,
    produce,
    record_of,
    set_up,
)
from tests.faults.test_runtime_deaths import all_passed, passed
from tests.integration.messaging.test_loop import read_all
from tests.servers import (
    at_database,
    execute,
    first_port,
    make_home,
    migrate,
    run_apart,
    settings_of,
)

COUNT = 2000
SETTINGS = ConsumerSettings(instance="a", batch_max_records=20)


@pytest.fixture
def own_kafka() -> Iterator[EmbeddedKafka]:
    """Start a broker that may be killed."""
    home = make_home("kafka-to-kill")
    port = first_port() + 100
    server = EmbeddedKafka(home, cache_directory(home), port)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """Start a database server that may be killed."""
    home = make_home("postgres-to-kill")
    server = EmbeddedPostgres(home, first_port() + 110)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def on_own_kafka(
    own_kafka: EmbeddedKafka, database_url: str, topics_prefix: str
) -> tuple[KafkaSettings, DatabaseSettings]:
    kafka = settings_of(own_kafka, topic_prefix=topics_prefix)
    database = DatabaseSettings(url=database_url)
    await set_up(kafka, database)
    return kafka, database


@pytest.fixture
async def on_own_postgres(
    own_postgres: EmbeddedPostgres, kafka_bootstrap: str, topics_prefix: str
) -> tuple[KafkaSettings, DatabaseSettings]:
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap, topic_prefix=topics_prefix)
    run_apart(execute(own_postgres.url, "CREATE DATABASE killed"))
    url = at_database(own_postgres.url, "killed")
    migrate(url)
    database = DatabaseSettings(url=url)
    await set_up(kafka, database)
    return kafka, database


class Running:
    """A member that runs in this process while a server is killed."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(run_role(self.bench.parts, self.stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        async with asyncio.timeout(60):
            await self.task


async def halfway(bench: Bench) -> None:
    async def condition() -> bool:
        return await passed(bench) >= COUNT // 4

    await eventually(condition)


async def test_a_killed_broker_costs_time_only(
    own_kafka: EmbeddedKafka, on_own_kafka: tuple[KafkaSettings, DatabaseSettings]
) -> None:
    role = CountingRole(prepare_s=0.03, emit=True)
    async with open_bench(*on_own_kafka, role=role, consumer=SETTINGS) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(COUNT)])
        async with Running(bench):
            await halfway(bench)
            own_kafka.kill()
            await asyncio.sleep(2)
            await asyncio.to_thread(own_kafka.start)
            await all_passed(bench, COUNT, within_s=90)

            async def outbox_empty() -> bool:
                return await bench.outbox.count(bound=10_000) == 0

            await eventually(outbox_empty, within_s=30)

        assert await bench.effects() == Counter(range(COUNT))
        told = await read_all(on_own_kafka[0], OUT.name, COUNT)
        assert {int(record.key) for record in told} == set(range(COUNT))


async def test_stopping_while_the_broker_is_away_is_bounded_and_loses_nothing(
    own_kafka: EmbeddedKafka, on_own_kafka: tuple[KafkaSettings, DatabaseSettings]
) -> None:
    async with open_bench(*on_own_kafka, role=CountingRole(emit=True), consumer=SETTINGS) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(200)])
        async with Running(bench) as running:
            await all_passed(bench, 200)
            own_kafka.kill()
            running.stop.set()
            async with asyncio.timeout(20):
                await running.task
        assert await bench.effects() == Counter(range(200))
        owners = await bench.pool.fetch("SELECT DISTINCT owner FROM progress")
        assert [row["owner"] for row in owners] == [""]


async def test_a_killed_database_costs_time_only(
    own_postgres: EmbeddedPostgres, on_own_postgres: tuple[KafkaSettings, DatabaseSettings]
) -> None:
    role = CountingRole(prepare_s=0.03)
    async with open_bench(*on_own_postgres, role=role, consumer=SETTINGS) as bench:
        await produce(bench.publisher, [record_of(n) for n in range(COUNT)])
        async with Running(bench) as running:
            await halfway(bench)
            for _ in range(2):
                own_postgres.kill()
                await asyncio.sleep(1)
                assert not running.task.done(), "an outage must not end the process"
                await asyncio.to_thread(own_postgres.start)
                before = await passed(bench)

                async def moved(before: int = before) -> bool:
                    return await passed(bench) > before

                await eventually(moved, within_s=20)
            await all_passed(bench, COUNT, within_s=60)

        assert await bench.effects() == Counter(range(COUNT))
