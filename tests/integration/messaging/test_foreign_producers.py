"""Records of a producer that is not ours: transactions, codecs, tombstones."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from core.messaging.kafka.log_ends import log_bounds
from core.messaging.loop import run_role
from core.settings import ConsumerSettings, DatabaseSettings, KafkaSettings
from schemas.record import Record
from tests.counting import GROUP, TOPIC, Bench, CountingRole, eventually, open_bench, record_of
from tests.integration.messaging.foreign import CODECS, ForeignProducer, transaction
from tests.integration.messaging.test_loop import run_until

LASTS_S = 120.0


async def stable_ends(kafka: KafkaSettings) -> dict[int, int]:
    """Return where committed records end in each partition."""
    return {part: log.stable for part, log in (await log_bounds(kafka, TOPIC)).items()}


async def at_the_end(bench: Bench, kafka: KafkaSettings) -> bool:
    """Tell whether progress stands at the end of what is committed, in all partitions."""
    return await bench.progress() == await stable_ends(kafka)


@pytest.mark.parametrize("codec", CODECS)
async def test_every_codec_of_librdkafka_is_read(
    kafka: KafkaSettings, database: DatabaseSettings, codec: str
) -> None:
    async with open_bench(kafka, database) as bench:
        producer = ForeignProducer(kafka, codec=codec)
        await asyncio.to_thread(producer.send, [record_of(n) for n in range(300)])

        await run_until(bench, lambda: at_the_end(bench, kafka))

        assert await bench.effects() == Counter(range(300))


async def test_progress_passes_the_marker_at_the_logs_end_and_nobody_seems_to_stand_still(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    settings = ConsumerSettings(instance="a", stall_limit_s=10)
    async with open_bench(kafka, database, consumer=settings) as bench:
        producer = ForeignProducer(kafka, lasts_s=LASTS_S)

        def produce() -> None:
            with transaction(producer):
                producer.send([record_of(n) for n in range(10)], partition=0)
            with transaction(producer, commit=False):
                producer.send([record_of(n) for n in range(100, 110)], partition=1)

        await asyncio.to_thread(produce)
        stop = asyncio.Event()
        member = asyncio.create_task(run_role(bench.parts, stop))
        await eventually(lambda: at_the_end(bench, kafka))

        assert (await bench.progress())[0] == 11, "ten records and a marker"
        assert (await bench.progress())[1] == 11, "ten records that were taken back, and a marker"
        assert await bench.effects() == Counter(range(10))
        # Longer than the watchdog waits for a partition that has something to do.
        done, _ = await asyncio.wait({member}, timeout=1.5 * settings.stall_limit_s)
        assert not done
        stop.set()
        await member


async def test_what_is_taken_back_between_records_has_no_effect(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    role = CountingRole(prepare_s=0.02)
    settings = ConsumerSettings(instance="a", batch_max_records=7)
    async with open_bench(kafka, database, role=role, consumer=settings) as bench:

        def produce() -> None:
            producer = ForeignProducer(kafka, codec="lz4", lasts_s=LASTS_S)
            for start in range(0, 600, 20):
                with transaction(producer, commit=start % 40 == 0):
                    producer.send([record_of(n) for n in range(start, start + 20)])

        await asyncio.to_thread(produce)
        await run_until(bench, lambda: at_the_end(bench, kafka))

        kept = {n for n in range(600) if n // 20 % 2 == 0}
        assert await bench.effects() == Counter(kept)
        assert bench.metrics.consumer_refetched.labels(GROUP, "seek")._value.get() == 0


async def test_an_open_transaction_is_no_stall_and_is_told(
    kafka: KafkaSettings, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.messaging.watching.watchdog.OPEN_TRANSACTION_S", 1.0)
    settings = ConsumerSettings(instance="a", stall_limit_s=10)
    async with open_bench(kafka, database, consumer=settings) as bench:
        producer = ForeignProducer(kafka, lasts_s=LASTS_S)
        plain = ForeignProducer(kafka)

        def begin() -> None:
            producer.producer.begin_transaction()
            producer.send([record_of(1)], partition=0)
            plain.send([record_of(2)], partition=0)  # behind it: waits for its end

        await asyncio.to_thread(begin)
        stop = asyncio.Event()
        member = asyncio.create_task(run_role(bench.parts, stop))
        held = bench.metrics.consumer_held.labels(GROUP, TOPIC.name, "0")
        lag = bench.metrics.consumer_lag.labels(GROUP, TOPIC.name, "0")

        async def is_told() -> bool:
            return bool(held._value.get() > 1.5 * settings.stall_limit_s)

        await eventually(is_told, within_s=60)
        assert not member.done(), "an open transaction ended the process"
        assert lag._value.get() == 0
        assert await bench.effects() == Counter()
        (told,) = _told(bench)
        assert (told["partition"], told["records"] > 0, told["seconds"] > 10) == (0, True, True)

        await asyncio.to_thread(producer.producer.commit_transaction, 60.0)
        await eventually(lambda: at_the_end(bench, kafka))
        assert await bench.effects() == Counter([1, 2])

        async def is_over() -> bool:
            return bool(held._value.get() == 0)

        await eventually(is_over)
        assert _told(bench) == []
        stop.set()
        await member


def _told(bench: Bench) -> list[dict[str, Any]]:
    """What heartbeats say of transactions that are open."""
    return [
        one
        for beat in bench.metrics.signs.beats()
        for one in beat.about.get("open_transactions", ())
    ]


async def test_tombstones_are_passed_and_counted_and_halt_nothing(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    async with open_bench(kafka, database) as bench:
        producer = ForeignProducer(kafka)

        def produce() -> None:
            for start in range(0, 300, 50):
                producer.send([record_of(n) for n in range(start, start + 50)], partition=0)
                producer.tombstones(TOPIC.name, 0, 60)
            producer.send([Record(TOPIC.name, b"k", (), b"")], partition=1)

        await asyncio.to_thread(produce)
        await run_until(bench, lambda: at_the_end(bench, kafka))

        assert await bench.effects() == Counter(range(300))
        assert bench.metrics.consumer_tombstones.labels(GROUP)._value.get() == 360
        # An empty value is no tombstone: somebody meant to say something.
        assert list((await bench.dead_letters()).values()) == ["undecodable_event"]
