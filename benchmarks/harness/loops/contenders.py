"""One run of one loop: `contenders LOOP ROLE EVENTS KAFKA DATABASE TOPIC [timed]`.

It reads a filled topic as fast as it can; with `timed`, a topic that is being written to.
"""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from core.messaging.kafka.connection import login_options
from core.messaging.kafka.consumer import GroupConsumer
from core.messaging.kafka.eviction import evict
from core.messaging.kafka.producer import Publisher
from core.messaging.limits import LoopLimits
from core.messaging.loop import calm_collector, run_role
from core.messaging.role import Item, Outcome, Received
from core.messaging.session import RoleParts
from core.offsets import Owner
from core.settings import (
    ConsumerSettings,
    DatabaseSettings,
    KafkaSettings,
    OutboxSettings,
    TelemetrySettings,
    load,
)
from core.storage.pool import Pool, open_pool
from core.storage.stream import dead_letters, members, outbox, progress
from core.telemetry import tracing
from core.telemetry.metrics import Metrics
from core.transaction import Transaction
from schemas.image import ImageArrived
from schemas.record import Record
from schemas.topics import Topic

PARTITIONS, BATCH = 12, 500
EFFECTS = (
    "CREATE TABLE effects (part int4, log_offset int8, key bytea, value bytea,"
    " PRIMARY KEY (part, log_offset))"
)
INSERT = (
    "INSERT INTO effects SELECT * FROM unnest($1::int4[], $2::int8[], $3::bytea[], $4::bytea[])"
)
COMMIT_INTERVAL_S = 1.0
FETCH_WAIT_MS, FETCH_BYTES = 100, 2 * 1024 * 1024  # as `core.messaging.kafka.consumer` sets them


def sent_at(value: bytes) -> float:
    """Return when an event was sent, in seconds since 1970, read from its value; 0: not timed."""
    return float(value[:17])


@dataclass(frozen=True, slots=True)
class Job:
    """The task of a contender.

    Attributes:
        writes: whether to insert a row per event.
        events: number of events to read.
        topic: name of the topic.
        timed: whether to report for each event how long after its sending the handler had it.
    """

    kafka: KafkaSettings
    database: DatabaseSettings
    writes: bool
    events: int
    topic: str
    timed: bool


@dataclass(slots=True)
class Clock:
    """Time from the first record to the last commit."""

    job: Job
    began: float = 0.0
    began_cpu: float = 0.0
    delays_s: list[float] = field(default_factory=list)

    def handed(self, values: Iterable[bytes]) -> None:
        """Note that the handler has received records with these values."""
        if not self.began:
            self.began, self.began_cpu = time.monotonic(), time.process_time()
            sys.stdout.write("begun\n")
            sys.stdout.flush()
        if self.job.timed:
            now = time.time()
            self.delays_s += [now - sent for sent in map(sent_at, values) if sent]

    def tell(self) -> None:
        """Print the run's result as a JSON line."""
        run = {
            "events": self.job.events,
            "seconds": time.monotonic() - self.began,
            "cpu_s": time.process_time() - self.began_cpu,
            "delays_s": self.delays_s,
        }
        sys.stdout.write(json.dumps(run) + "\n")


@dataclass(slots=True)
class CountingRole:
    """A role that inserts a row per event, or nothing."""

    clock: Clock
    applied: int = 0

    async def prepare(self, batch: Sequence[Received[Record]]) -> list[Item[Record, None]]:
        """Return an item per record, unchanged."""
        self.clock.handed(one.record.value for one in batch)
        return [Item(received, None) for received in batch]

    async def apply(self, items: Sequence[Item[Record, None]], tx: Transaction) -> Outcome:
        """Write the rows."""
        if self.clock.job.writes:
            received = [item.received for item in items]
            await tx.execute(
                INSERT,
                [one.partition.number for one in received],
                [one.offset for one in received],
                [one.record.key for one in received],
                [one.record.value for one in received],
            )
        self.applied += len(items)
        return Outcome()


async def ours(job: Job) -> None:
    """Run our loop as the process of a role does."""
    calm_collector()
    clock = Clock(job)
    counting = CountingRole(clock)
    metrics = Metrics(CollectorRegistry())
    async with (
        open_pool(job.database) as pool,
        Publisher(job.kafka, metrics, client_id="runtime") as publisher,
    ):
        parts = _parts(job, pool, publisher, counting, metrics)
        stop = asyncio.Event()
        running = asyncio.create_task(run_role(parts, stop))
        while await _passed(pool, parts.group, counting.applied, job.events) < job.events:
            if running.done():
                await running
            await asyncio.sleep(0.02)
        clock.tell()
        stop.set()
        await running


async def _passed(pool: Pool, group: str, applied: int, events: int) -> int:
    """Return how many records the committed progress has passed; queried when it may be all."""
    if applied < events:
        return 0
    total = "SELECT coalesce(sum(next_offset), 0) FROM progress WHERE grp = $1"
    return int(await pool.fetchval(total, group))


def _parts(
    job: Job, pool: Pool, publisher: Publisher, role: CountingRole, metrics: Metrics
) -> RoleParts[Record, None]:
    kafka, group = job.kafka, f"runtime-{secrets.token_hex(4)}"
    topic = Topic(job.topic, "benchmark.runtime.v1", ImageArrived, "number", partitions=PARTITIONS)
    settings = ConsumerSettings(
        instance="only",
        batch_max_records=BATCH,
    )
    limits = LoopLimits(queue_max_records=4 * BATCH, advisory_commit_interval_s=COMMIT_INTERVAL_S)
    return RoleParts(
        role=role,
        owner=Owner(group, "only", isolate_after=2, isolate_span=6 * BATCH),
        instance="only",
        topic=topic,
        decode=lambda record: record,
        client=GroupConsumer(kafka, group=group, topic=topic, client_id="only"),
        evict=lambda member_id: evict(kafka, group=group, member_id=member_id),
        database=pool,
        ledger=progress,
        members=members,
        dead_letters=dead_letters,
        outbox=outbox,
        publisher=publisher,
        settings=settings,
        outbox_settings=OutboxSettings(),
        metrics=metrics,
        limits=limits,
    )


async def bare(job: Job) -> None:
    """Fetch, insert, commit to Kafka once a second: at-least-once processing and nothing more."""
    clock, seen, told = Clock(job), 0, time.monotonic()
    positions: dict[TopicPartition, int] = {}
    connection = await asyncpg.connect(job.database.url.get_secret_value())
    consumer = AIOKafkaConsumer(
        job.topic,
        bootstrap_servers=job.kafka.bootstrap_servers,
        **login_options(job.kafka),
        group_id=f"bare-{secrets.token_hex(4)}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    while seen < job.events:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        records = [record for some in fetched.values() for record in some]
        if not records:
            continue
        clock.handed(record.value for record in records)
        if job.writes:
            await connection.execute(
                INSERT,
                [record.partition for record in records],
                [record.offset for record in records],
                [record.key for record in records],
                [record.value for record in records],
            )
        positions |= {place: some[-1].offset + 1 for place, some in fetched.items()}
        seen += len(records)
        if time.monotonic() - told >= COMMIT_INTERVAL_S:
            await consumer.commit(positions)
            told = time.monotonic()
    clock.tell()
    await consumer.commit(positions)
    await consumer.stop()
    await connection.close()


def main() -> None:
    """Run the contender that the arguments name."""
    loop, role, events, bootstrap, url, topic, *timed = sys.argv[1:]
    kafka = KafkaSettings(bootstrap_servers=bootstrap)
    database = DatabaseSettings(url=SecretStr(url))
    job = Job(kafka, database, role == "write", int(events), topic, bool(timed))
    tracing.configure(load(TelemetrySettings), process="benchmark")  # if an endpoint is set
    contender = {"bare": bare, "ours": ours}.get(loop) or getattr(
        import_module("benchmarks.harness.loops.peers"), loop
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(contender(job))


if __name__ == "__main__":
    main()
