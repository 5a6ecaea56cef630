"""A compressed batch of a few kilobytes that holds hundreds of megabytes: read whole, in bounds."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from core.settings import MIB, DatabaseSettings, KafkaSettings
from tests.counting import eventually, open_bench
from tests.integration.messaging.test_loop import finished, run_until
from tests.integration.messaging.test_unreadable import send_raw

ROOT = Path(__file__).parents[3]
RECORDS = 200
ZSTD = 4
#: Held at once: the queue (64 MiB), three batches of 32 MiB each, and what one fetch hands out.
#: Measured: 97 with the bound.
MOST_MORE_MIB = 220


def packed_batch(first: int) -> bytes:
    """Return a batch of numbers with a megabyte of padding each."""
    builder = DefaultRecordBatchBuilder(2, ZSTD, 0, -1, -1, -1, 1 << 30)
    for at in range(RECORDS):
        value = json.dumps({"number": first + at, "pad": "0" * MIB}).encode()
        builder.append(at, now_ms(), b"k", value, [("ce_id", b"n-%d" % (first + at))])
    return bytes(builder.build())


@contextmanager
def member(kafka: KafkaSettings, database: DatabaseSettings) -> Iterator[int]:
    """Run a member as a process of its own; yield its id."""
    environment = {
        **os.environ,
        "CONSUMER_INSTANCE": "alone",
        "DATABASE_URL": database.url.get_secret_value(),
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.counting"], cwd=ROOT, env=environment
    ) as one:
        try:
            yield one.pid
        finally:
            one.terminate()


def peak_mib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


async def test_a_batch_that_unpacks_to_hundreds_of_megabytes_is_read_whole_in_bounded_memory(
    kafka: KafkaSettings,
    database: DatabaseSettings,
    record_property: Callable[[str, object], None],
) -> None:
    batch = await asyncio.to_thread(packed_batch, 0)
    assert len(batch) < 256 * 1024
    async with open_bench(kafka, database) as bench:

        async def done(count: int) -> bool:
            return sum((await bench.effects()).values()) >= count

        with member(kafka, database) as pid:
            await send_raw(kafka, 0, small_batch())
            await eventually(lambda: done(1), within_s=60)
            before = peak_mib(pid)
            await send_raw(kafka, 1, batch)
            await eventually(lambda: done(1 + RECORDS), within_s=120)
            more = peak_mib(pid) - before

        assert await bench.effects() == Counter([*range(RECORDS), 5000])
        assert not await bench.dead_letters()
        record_property("more_mib", more)
        assert more < MOST_MORE_MIB


async def test_a_record_over_the_limit_is_set_aside_with_those_behind_it_in_its_batch(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    values = [b'{"number": %d}' % number for number in range(4)]
    values[2] = values[2].ljust(5 * MIB)
    builder = DefaultRecordBatchBuilder(2, ZSTD, 0, -1, -1, -1, 1 << 30)
    for at, value in enumerate(values):
        builder.append(at, now_ms(), b"k", value, [])
    async with open_bench(kafka, database) as bench:
        await send_raw(kafka, 2, bytes(builder.build()))
        await send_raw(kafka, 2, small_batch())

        await run_until(bench, finished(bench, 5), within_s=60)

        assert await bench.effects() == Counter([0, 1, 5000])
        assert list((await bench.dead_letters()).values()) == ["unreadable_record"]


def small_batch() -> bytes:
    """Return a batch of one number, 5000."""
    builder = DefaultRecordBatchBuilder(2, ZSTD, 0, -1, -1, -1, 1 << 20)
    builder.append(0, now_ms(), b"k", b'{"number": 5000}', [])
    return bytes(builder.build())


def now_ms() -> int:
    """Return a time within the topic's retention: the broker soon deletes what is older."""
    return round(time.time() * 1000)
