"""One run of one loop over a filled topic: `runtime_contenders LOOP ROLE EVENTS KAFKA DATABASE`."""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from core.messaging.collecting import calm_collector
from core.messaging.eviction import evict
from core.messaging.group import GroupConsumer
from core.messaging.kafka import Publisher
from core.messaging.loop import run_role
from core.messaging.role import Item, Outcome, Received
from core.messaging.session import RoleParts
from core.settings import ConsumerSettings, DatabaseSettings, KafkaSettings, OutboxSettings
from core.storage.dead_letters import DeadLetterTable
from core.storage.members import MemberTable
from core.storage.outbox import OutboxTable
from core.storage.pool import Pool, open_pool
from core.storage.progress import ProgressTable
from core.telemetry.metrics import Metrics
from core.transaction import Transaction
from schemas.image import ImageArrived
from schemas.record import Record
from schemas.topics import Topic

PARTITIONS, BATCH = 12, 500
TOPIC = Topic("runtime.v1", "benchmark.runtime.v1", ImageArrived, "number", partitions=PARTITIONS)
EFFECTS = (
    "CREATE TABLE effects (part int4, log_offset int8, key bytea, value bytea,"
    " PRIMARY KEY (part, log_offset))"
)
INSERT = (
    "INSERT INTO effects SELECT * FROM unnest($1::int4[], $2::int8[], $3::bytea[], $4::bytea[])"
)
COMMIT_INTERVAL_S = 1.0
FETCH_WAIT_MS, FETCH_BYTES = 100, 2 * 1024 * 1024  # as `core.messaging.group` sets them


@dataclass(slots=True)
class Clock:
    """From the first record to the end."""

    began: float = 0.0
    began_cpu: float = 0.0

    def first(self) -> None:
        """A record is there."""
        if not self.began:
            self.began, self.began_cpu = time.monotonic(), time.process_time()

    def tell(self, events: int) -> None:
        """Print the run as a JSON line."""
        run = {
            "events": events,
            "seconds": time.monotonic() - self.began,
            "cpu_s": time.process_time() - self.began_cpu,
        }
        sys.stdout.write(json.dumps(run) + "\n")


@dataclass(slots=True)
class CountingRole:
    """Inserts a row per event, or nothing."""

    clock: Clock
    writes: bool
    applied: int = 0
    progressed: asyncio.Event = field(default_factory=asyncio.Event)

    async def prepare(self, batch: Sequence[Received[Record]]) -> list[Item[Record, None]]:
        """Nothing to prepare."""
        self.clock.first()
        return [Item(received, None) for received in batch]

    async def apply(self, items: Sequence[Item[Record, None]], tx: Transaction) -> Outcome:
        """Write the rows."""
        if self.writes:
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


async def ours(kafka: KafkaSettings, database: DatabaseSettings, role: str, events: int) -> None:
    """Run our loop as a role's process does."""
    calm_collector()
    clock = Clock()
    counting = CountingRole(clock, role == "write")
    metrics = Metrics(CollectorRegistry())
    async with (
        open_pool(database) as pool,
        Publisher(kafka, metrics, client_id="runtime") as publisher,
    ):
        parts = _parts(kafka, pool, publisher, counting, metrics)
        stop = asyncio.Event()
        running = asyncio.create_task(run_role(parts, stop))
        while await _passed(pool, parts.group, counting.applied, events) < events:
            if running.done():
                await running
            await asyncio.sleep(0.02)
        clock.tell(events)
        stop.set()
        await running


async def _passed(pool: Pool, group: str, applied: int, events: int) -> int:
    """How many records are behind the committed progress; asked only when it may be all."""
    if applied < events:
        return 0
    total = "SELECT coalesce(sum(next_offset), 0) FROM progress WHERE grp = $1"
    return int(await pool.fetchval(total, group))


def _parts(
    kafka: KafkaSettings, pool: Pool, publisher: Publisher, role: CountingRole, metrics: Metrics
) -> RoleParts[Record, None]:
    group = f"runtime-{secrets.token_hex(4)}"
    settings = ConsumerSettings(
        instance="only",
        batch_max_records=BATCH,
        queue_max_records=4 * BATCH,
        advisory_commit_interval_s=COMMIT_INTERVAL_S,
    )
    return RoleParts(
        role=role,
        group=group,
        instance="only",
        topic=TOPIC,
        decode=lambda record: record,
        client=GroupConsumer(kafka, group=group, topic=TOPIC, client_id="only"),
        evict=lambda member_id: evict(kafka, group=group, member_id=member_id),
        ledger=ProgressTable(
            pool, group=group, owner="only", isolate_after=2, isolate_span=6 * BATCH
        ),
        members=MemberTable(pool, group=group),
        dead_letters=DeadLetterTable(),
        outbox=OutboxTable(pool),
        publisher=publisher,
        settings=settings,
        outbox_settings=OutboxSettings(),
        metrics=metrics,
    )


async def bare(kafka: KafkaSettings, database: DatabaseSettings, role: str, events: int) -> None:
    """Fetch, insert, tell Kafka once a second: at least once, nothing more."""
    clock, seen, told = Clock(), 0, time.monotonic()
    positions: dict[TopicPartition, int] = {}
    connection = await asyncpg.connect(database.url.get_secret_value())
    consumer = AIOKafkaConsumer(
        TOPIC.name,
        bootstrap_servers=kafka.bootstrap_servers,
        group_id=f"bare-{secrets.token_hex(4)}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    while seen < events:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        records = [record for some in fetched.values() for record in some]
        if not records:
            continue
        clock.first()
        if role == "write":
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
    clock.tell(events)
    await consumer.commit(positions)
    await consumer.stop()
    await connection.close()


def main() -> None:
    """Run what the arguments say."""
    loop, role, events, bootstrap, url = sys.argv[1:]
    kafka = KafkaSettings(bootstrap_servers=bootstrap)
    database = DatabaseSettings(url=SecretStr(url))
    contender = {"bare": bare, "ours": ours}.get(loop) or getattr(
        import_module("benchmarks.runtime_peers"), loop
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(contender(kafka, database, role, int(events)))


if __name__ == "__main__":
    main()
