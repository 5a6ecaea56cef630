"""The sweeper and the publishing after a commit, in memory."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from core.errors import BrokerAway
from core.messaging.limits import LoopLimits
from core.messaging.ports import Place
from core.messaging.sweeper import OutboxPublisher, Sweeper
from core.settings import OutboxSettings
from core.telemetry.metrics import Metrics
from schemas.record import Record
from tests.fakes.messaging import MemoryDatabase, MemoryOutbox, MemoryPublisher


class Bench:
    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.outbox = MemoryOutbox(self.database)
        self.publisher = MemoryPublisher()
        self.metrics = Metrics(CollectorRegistry())
        limits = LoopLimits(sweep_interval_s=0.01, sweep_max_rows=2)
        self.sweeper = Sweeper(self.outbox, self.publisher, OutboxSettings(), self.metrics, limits)

    async def fill(self, *topics: str) -> list[int]:
        records = [Record(topic, None, (), str(n).encode()) for n, topic in enumerate(topics)]
        async with self.outbox.transaction() as tx:
            return await self.outbox.add(tx, records)


async def test_what_the_last_life_left_is_published_in_order_at_the_start() -> None:
    bench = Bench()
    await bench.fill("a", "b", "a", "c", "a")
    stop = asyncio.Event()
    task = asyncio.create_task(bench.sweeper.run(stop))
    async with asyncio.timeout(5):
        while bench.outbox.rows:
            await asyncio.sleep(0.001)
    stop.set()
    await task

    assert [record.value for record in bench.publisher.published] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_row_that_kafka_refuses_for_good_is_set_aside_and_blocks_nobody() -> None:
    bench = Bench()
    ids = await bench.fill("bad", "good", "bad", "good")
    bench.publisher.refused_topics = {"bad"}

    while await bench.sweeper.sweep(age_s=0):
        pass

    assert [id_ for id_, _ in bench.outbox.refused] == [ids[0], ids[2]]
    assert bench.outbox.refused[0][1].reason == "kafka_refused"
    assert [record.topic for record in bench.publisher.published] == ["good", "good"]
    assert bench.outbox.rows == {}


async def test_rows_that_fail_for_the_moment_stay_and_the_rest_still_leaves() -> None:
    bench = Bench()
    ids = await bench.fill("away", "away", "away", "good")
    bench.publisher.away_topics = {"away"}

    for _ in range(2):
        with pytest.raises(BrokerAway):
            await bench.sweeper.sweep(age_s=0)

    assert sorted(bench.outbox.rows) == ids[:3]
    bench.publisher.away_topics = set()
    for _ in range(4):  # to the end of the table, and from its beginning again
        await bench.sweeper.sweep(age_s=0)
    assert bench.outbox.rows == {}


async def test_a_sweeper_outlives_outages_of_both_sides() -> None:
    bench = Bench()
    await bench.fill("a")
    bench.publisher.away = 2
    bench.database.is_away = True
    stop = asyncio.Event()
    task = asyncio.create_task(bench.sweeper.run(stop))
    await asyncio.sleep(0.02)
    bench.database.is_away = False
    async with asyncio.timeout(5):
        while bench.outbox.rows:
            await asyncio.sleep(0.001)
    stop.set()
    await task
    assert len(bench.publisher.published) == 1


async def test_publishing_now_deletes_what_kafka_took_and_leaves_the_rest_to_the_sweeper() -> None:
    bench = Bench()
    ids = await bench.fill("good", "away", "bad")
    bench.publisher.away_topics, bench.publisher.refused_topics = {"away"}, {"bad"}
    records = list(bench.outbox.rows.values())

    sent = await OutboxPublisher(bench.outbox, bench.publisher).publish_now(ids, records)

    assert isinstance(sent[0], Place)
    assert sorted(bench.outbox.rows) == ids[1:]


async def test_publishing_now_does_not_fail_when_the_delete_does() -> None:
    bench = Bench()
    ids = await bench.fill("good")
    bench.database.is_away = True

    sent = await OutboxPublisher(bench.outbox, bench.publisher).publish_now(
        ids, list(bench.outbox.rows.values())
    )

    assert isinstance(sent[0], Place)
    assert list(bench.outbox.rows) == ids, "published twice later, with the same id"
