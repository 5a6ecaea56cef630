"""The sweeper and the publishing after a commit, in memory."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from core.errors import BrokerAway, DatabaseAway
from core.messaging.limits import LoopLimits
from core.messaging.outbox import AWAY_S, OutboxPublisher, Sweeper
from core.messaging.ports import Sent
from core.offsets import OutboxRow, Place
from core.settings import OutboxSettings
from core.telemetry.metrics import Metrics
from schemas.record import Record
from tests.fakes.messaging import MemoryPublisher
from tests.simulation.clock import virtual
from tests.simulation.database import SimDatabase
from tests.simulation.ports import Connection, SimOutbox
from tests.simulation.wire import Wire


class Bench:
    def __init__(self) -> None:
        self.database = SimDatabase()
        self.sql = Wire(Random(1), DatabaseAway)
        self.connection = Connection(self.database, self.sql)
        self.publisher = MemoryPublisher()
        self.metrics = Metrics(CollectorRegistry())
        limits = LoopLimits(sweep_interval_s=0.01, sweep_max_rows=2)
        self.sweeper = Sweeper(
            self.connection,
            SimOutbox(),
            self.publisher,
            OutboxSettings(),
            self.metrics,
            limits,
        )
        self.now = OutboxPublisher(self.connection, SimOutbox(), self.publisher, lambda: self.time)
        self.time = 0.0

    @property
    def rows(self) -> list[OutboxRow]:
        return [row for _, row in self.database.outbox.values()]

    async def fill(self, *topics: str) -> list[OutboxRow]:
        records = [Record(topic, None, (), str(n).encode()) for n, topic in enumerate(topics)]
        async with self.connection.transaction() as tx:
            return await self.now.add(tx, records)


@virtual
async def test_what_the_last_life_left_is_published_in_order_at_the_start() -> None:
    bench = Bench()
    await bench.fill("a", "b", "a", "c", "a")
    stop = asyncio.Event()
    task = asyncio.create_task(bench.sweeper.run(stop))
    async with asyncio.timeout(5):
        while bench.rows:
            await asyncio.sleep(0.001)
    stop.set()
    await task

    assert [record.value for record in bench.publisher.published] == [b"0", b"1", b"2", b"3", b"4"]


@virtual
async def test_a_row_that_kafka_refuses_for_good_is_set_aside_and_blocks_nobody() -> None:
    bench = Bench()
    rows = await bench.fill("bad", "good", "bad", "good")
    bench.publisher.refused_topics = {"bad"}

    while await bench.sweeper.sweep(age_s=0):
        pass

    assert [row for row, _ in bench.database.quarantined] == [rows[0], rows[2]]
    assert bench.database.quarantined[0][1].reason == "kafka_refused"
    assert [record.topic for record in bench.publisher.published] == ["good", "good"]
    assert bench.rows == []


@virtual
async def test_rows_that_fail_for_the_moment_stay_and_the_rest_still_leaves() -> None:
    bench = Bench()
    rows = await bench.fill("away", "away", "away", "good")
    bench.publisher.away_topics = {"away"}

    for _ in range(2):
        with pytest.raises(BrokerAway):
            await bench.sweeper.sweep(age_s=0)

    assert bench.rows == rows[:3]
    bench.publisher.away_topics = set()
    for _ in range(4):  # to the end of the table, and from its beginning again
        await bench.sweeper.sweep(age_s=0)
    assert bench.rows == []


@virtual
async def test_a_sweeper_outlives_outages_of_both_sides() -> None:
    bench = Bench()
    await bench.fill("a")
    bench.publisher.away = 2
    bench.sql.is_away = True
    stop = asyncio.Event()
    task = asyncio.create_task(bench.sweeper.run(stop))
    await asyncio.sleep(0.02)
    bench.sql.is_away = False
    async with asyncio.timeout(5):
        while bench.rows:
            await asyncio.sleep(0.001)
    stop.set()
    await task
    assert len(bench.publisher.published) == 1


@virtual
async def test_the_rows_that_wait_are_told_also_while_the_broker_is_away() -> None:
    bench = Bench()
    await bench.fill("a", "b", "c")
    bench.publisher.away = 10**9
    stop = asyncio.Event()
    task = asyncio.create_task(bench.sweeper.run(stop))
    async with asyncio.timeout(5):
        while bench.metrics.outbox_rows._value.get() != 3:
            await asyncio.sleep(0.001)
    stop.set()
    await task


@virtual
async def test_publishing_now_deletes_what_kafka_took_and_leaves_the_rest_to_the_sweeper() -> None:
    bench = Bench()
    rows = await bench.fill("good", "away", "bad")
    bench.publisher.away_topics, bench.publisher.refused_topics = {"away"}, {"bad"}

    sent = await bench.now.publish(rows)

    assert isinstance(sent[0], Place)
    assert bench.rows == rows[1:]


@virtual
async def test_publishing_now_does_not_fail_when_the_delete_does() -> None:
    bench = Bench()
    rows = await bench.fill("good")
    bench.sql.is_away = True

    sent = await bench.now.publish(rows)

    assert isinstance(sent[0], Place)
    assert bench.rows == rows, "published twice later, with the same id"


class SlowPublisher(MemoryPublisher):
    """Kafka takes three seconds to acknowledge."""

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        await asyncio.sleep(3)
        return await super().publish(records)


@virtual
async def test_whoever_waits_for_a_limited_time_gets_the_outcomes_in_time() -> None:
    bench = Bench()
    rows = await bench.fill("a", "bad")
    bench.publisher.refused_topics = {"bad"}

    sent = await bench.now.publish_within(rows, 1.0)

    assert sent is not None
    assert isinstance(sent[0], Place)
    assert bench.rows == rows[1:]
    assert bench.database.places == {}, "the outcome names the place"


@virtual
async def test_what_takes_longer_goes_on_by_itself_and_leaves_its_place() -> None:
    bench = Bench()
    bench.now.publisher = bench.publisher = SlowPublisher()
    rows = await bench.fill("a")

    assert await bench.now.publish_within(rows, 1.0) is None
    assert bench.rows == rows
    await bench.now.drain(within_s=10)

    assert bench.rows == []
    assert bench.database.places == {rows[0].id: Place("a", 0, 0)}


@virtual
async def test_a_caller_that_goes_away_does_not_take_its_events_along() -> None:
    bench = Bench()
    bench.now.publisher = bench.publisher = SlowPublisher()
    rows = await bench.fill("a")
    caller = asyncio.create_task(bench.now.publish_within(rows, 10.0))
    await asyncio.sleep(0.5)

    caller.cancel()
    await asyncio.wait([caller])
    await asyncio.sleep(10)

    assert caller.cancelled()
    assert bench.rows == []
    assert bench.database.places == {rows[0].id: Place("a", 0, 0)}


@virtual
async def test_after_a_failure_nobody_waits_for_the_broker_for_a_while() -> None:
    bench = Bench()
    rows = await bench.fill("a")
    bench.publisher.away = 1

    first = await bench.now.publish_within(rows, 1.0)
    second = await bench.now.publish_within(rows, 1.0)
    bench.time += AWAY_S
    third = await bench.now.publish_within(rows, 1.0)

    assert first is not None
    assert isinstance(first[0], BrokerAway)
    assert second is None
    assert third == [Place("a", 0, 0)]
    assert len(bench.publisher.published) == 1


@virtual
async def test_a_failure_that_is_known_only_later_keeps_the_next_from_waiting_too() -> None:
    bench = Bench()
    bench.now.publisher = bench.publisher = SlowPublisher()
    bench.publisher.away = 1
    rows = await bench.fill("a")
    assert await bench.now.publish_within(rows, 1.0) is None
    await bench.now.drain(within_s=10)
    began = asyncio.get_running_loop().time()

    assert await bench.now.publish_within(rows, 1.0) is None

    assert asyncio.get_running_loop().time() == began
    assert bench.rows == rows, "they wait for the sweeper"


@virtual
async def test_what_is_put_leaves_in_order_and_a_backlog_is_left_to_the_sweeper() -> None:
    bench = Bench()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.messaging.outbox.MOST_QUEUED", 3)
        for topics in (("a", "b"), ("c", "d"), ("e",)):
            bench.now.put(await bench.fill(*topics))
    assert not await bench.now.quiet(1.0)
    running = asyncio.create_task(bench.now.run())

    assert await bench.now.quiet(1.0)

    running.cancel()
    assert [record.topic for record in bench.publisher.published] == ["a", "b", "e"]
    assert [row.record.topic for row in bench.rows] == ["c", "d"]
