"""A role whose only effect can be counted: one row per record, in a table without a unique key.

A record that is applied twice thus leaves two rows. The role also runs as a process that tests can
kill: `python -m tests.counting` with CONSUMER_*, DATABASE_URL, KAFKA_* in the environment.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from core.errors import BlobStoreAway, PermanentError, UndecodableEvent
from core.messaging.kafka.consumer import GroupConsumer
from core.messaging.kafka.eviction import evict
from core.messaging.kafka.producer import Publisher
from core.messaging.kafka.topics import ensure_topics
from core.messaging.limits import CLIENT_LIMITS, ClientLimits, LoopLimits
from core.messaging.loop import calm_collector, run_role
from core.messaging.outbox import OutboxPublisher
from core.messaging.ports import Ledger
from core.messaging.role import Item, Outcome, Received, Rejection
from core.messaging.session import RoleParts
from core.offsets import Move, Owner, Place
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
from core.telemetry import logs
from core.telemetry.metrics import Metrics
from core.transaction import Transaction
from schemas.image import ImageArrived
from schemas.record import Partition, Record
from schemas.topics import Topic, TopicPlan, dead_letter_topic

COUNTING_LIMITS = LoopLimits(sweep_interval_s=0.5)
GROUP = "counting"
TOPIC = Topic("numbers.counted.v1", "test.number.counted.v1", ImageArrived, "number", partitions=6)
OUT = Topic("numbers.emitted.v1", "test.number.emitted.v1", ImageArrived, "number", partitions=3)
PLANS = (
    TopicPlan(TOPIC.name, TOPIC.partitions, ()),
    TopicPlan(OUT.name, OUT.partitions, ()),
    TopicPlan(dead_letter_topic(TOPIC.name, GROUP), 1, ()),
)
EFFECTS = (
    "CREATE TABLE IF NOT EXISTS effects (number int8, part int4, log_offset int8, note text,"
    " at timestamptz DEFAULT clock_timestamp())"
)


@dataclass(frozen=True, slots=True)
class Number:
    """An event: a number, and a plan that says what happens when it is processed."""

    number: int
    do: str = ""


def decode(record: Record) -> Number:
    try:
        told = json.loads(record.value)
        return Number(told["number"], told.get("do", ""))
    except (ValueError, KeyError, TypeError) as error:
        raise UndecodableEvent(f"not a number: {error!r}") from error


def record_of(number: int, do: str = "") -> Record:
    value = json.dumps({"number": number, "do": do}).encode()
    return Record(TOPIC.name, str(number).encode(), (("ce_id", f"n-{number}".encode()),), value)


@dataclass(slots=True)
class CountingRole:
    """A role that inserts each number once and carries out the plan of its event.

    Attributes:
        away: how many calls of `prepare` fail with an outage first.
        seen: numbers that reached `prepare`, in order.
        failures: plans that were errors, as `apply` saw them.
    """

    prepare_s: float = 0.0
    away: int = 0
    emit: bool = False
    seen: list[int] = field(default_factory=list)
    failures: list[PermanentError] = field(default_factory=list)
    gate: asyncio.Event | None = None
    broken: set[int] = field(default_factory=set)
    freeze_after_guard: bool = False

    async def prepare(self, batch: Sequence[Received[Number]]) -> list[Item[Number, int]]:
        if self.away:
            self.away -= 1
            raise BlobStoreAway("not now")
        if self.gate is not None:
            await self.gate.wait()
        if self.prepare_s:
            await asyncio.sleep(self.prepare_s)
        for received in batch:
            if received.event.do == "crash":
                os._exit(137)
            if received.event.do == "bug":
                raise ZeroDivisionError(received.event.number)
            if received.event.do == "broken once" and received.event.number not in self.broken:
                self.broken.add(received.event.number)
                raise MemoryError
            self.seen.append(received.event.number)
        return [Item(received, received.event.number) for received in batch]

    async def apply(self, items: Sequence[Item[Number, int]], tx: Transaction) -> Outcome:
        rows: list[tuple[int, int, int, str]] = []
        rejected: list[Rejection] = []
        for item in items:
            place = (item.received.partition.number, item.received.offset)
            plan, do = item.plan, item.received.event.do
            if isinstance(plan, PermanentError):
                self.failures.append(plan)
                if do == "refuse-always":
                    rows.append((item.received.event.number, *place, "\x00"))
                rejected.append(Rejection(item.received.partition, item.received.offset, plan))
            elif do == "bug in apply":
                raise ZeroDivisionError(plan)
            elif do == "reject":
                error = PermanentError("asked for", reason="asked_for")
                rejected.append(Rejection(item.received.partition, item.received.offset, error))
            else:
                rows.append((plan, *place, "\x00" if do.startswith("refuse") else ""))
        await tx.execute(
            "INSERT INTO effects (number, part, log_offset, note) SELECT * FROM"
            " unnest($1::int8[], $2::int4[], $3::int8[], $4::text[])",
            *(list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], []),
        )
        if self.freeze_after_guard:
            self.freeze_after_guard = False
            os.kill(os.getpid(), signal.SIGSTOP)  # continues here after SIGCONT
        emitted = tuple(
            Record(OUT.name, item.received.record.key, (), item.received.record.value)
            for item in items
            if self.emit
        )
        return Outcome(emitted, tuple(rejected))


@dataclass(slots=True)
class Bench:
    """The opened parts of one member, with access to its tables."""

    parts: RoleParts[Number, int]
    pool: Pool
    outbox: OutboxPublisher
    publisher: Publisher
    metrics: Metrics

    async def effects(self) -> Counter[int]:
        rows = await self.pool.fetch("SELECT number FROM effects")
        return Counter(row["number"] for row in rows)

    async def progress(self) -> dict[int, int]:
        rows = await self.pool.fetch("SELECT part, next_offset FROM progress WHERE grp = $1", GROUP)
        return {row["part"]: row["next_offset"] for row in rows}

    async def dead_letters(self) -> dict[int, str]:
        rows = await self.pool.fetch(
            "SELECT part, log_offset, value, reason FROM dead_letters ORDER BY id"
        )
        return {_number(row["value"]): row["reason"] for row in rows}


def _number(value: bytes) -> int:
    try:
        return int(json.loads(value)["number"])
    except (ValueError, KeyError, TypeError):
        return -1


@asynccontextmanager
async def open_bench(
    kafka: KafkaSettings,
    database: DatabaseSettings,
    *,
    role: CountingRole | None = None,
    consumer: ConsumerSettings | None = None,
    ledger: Ledger = progress,
    client: type[GroupConsumer] = GroupConsumer,
    limits: LoopLimits = COUNTING_LIMITS,
    waits: ClientLimits = CLIENT_LIMITS,
) -> AsyncIterator[Bench]:
    """Yield the parts of a member on real servers, with topics and the table of effects created.

    Args:
        limits: of the loop.
        waits: of Kafka's clients.
    """
    settings = consumer or ConsumerSettings(instance=f"i-{secrets.token_hex(4)}")
    metrics = Metrics(CollectorRegistry())
    async with (
        open_pool(database, application="counting") as pool,
        Publisher(kafka, metrics, client_id="counting", limits=waits) as publisher,
    ):
        parts = RoleParts(
            role=role or CountingRole(),
            owner=Owner(
                group=GROUP,
                name=f"{settings.instance}/{secrets.token_hex(4)}",
                isolate_after=limits.crash_isolate_after,
                isolate_span=settings.batch_max_records * (limits.pipeline_depth + 1),
            ),
            instance=settings.instance,
            topic=TOPIC,
            decode=decode,
            client=client(
                kafka, group=GROUP, topic=TOPIC, client_id=settings.instance, limits=waits
            ),
            evict=lambda member_id: evict(kafka, group=GROUP, member_id=member_id),
            database=pool,
            ledger=ledger,
            members=members,
            dead_letters=dead_letters,
            outbox=outbox,
            publisher=publisher,
            settings=settings,
            outbox_settings=OutboxSettings(sweep_age_s=3),
            limits=limits,
            metrics=metrics,
        )
        yield Bench(parts, pool, OutboxPublisher(pool, outbox, publisher), publisher, metrics)


async def set_up(kafka: KafkaSettings, database: DatabaseSettings) -> None:
    """Create the topics and the table of effects."""
    await ensure_topics(kafka, PLANS)
    async with open_pool(database) as pool:
        await pool.execute(EFFECTS)


async def produce(publisher: Publisher, records: Sequence[Record]) -> None:
    """Publish, and check that all records were acknowledged."""
    for start in range(0, len(records), 1000):
        sent = await publisher.publish(records[start : start + 1000])
        missing = [outcome for outcome in sent if not isinstance(outcome, Place)]
        if missing:
            raise AssertionError(missing[0])


async def eventually(condition: Any, *, within_s: float = 30.0, what: str = "") -> None:
    """Wait until the awaitable condition holds; fails with `what` after the limit."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not await condition():
        if loop.time() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        await asyncio.sleep(0.05)


class UnguardedProgress:
    """The negative control: a guard that lets all partitions pass."""

    standings = staticmethod(progress.standings)
    claim = staticmethod(progress.claim)
    attempt = staticmethod(progress.attempt)
    release = staticmethod(progress.release)

    async def advance(
        self, tx: Transaction, owner: Owner, moves: Sequence[Move]
    ) -> frozenset[Partition]:
        await progress.advance(tx, owner, moves)
        return frozenset(move.partition for move in moves)


async def _main() -> None:
    logs.configure(load(TelemetrySettings), process="counting")
    calm_collector()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    role = CountingRole(
        prepare_s=float(os.environ.get("COUNTING_PREPARE_S", "0")),
        freeze_after_guard=bool(os.environ.get("COUNTING_FREEZE_AFTER_GUARD")),
        emit=bool(os.environ.get("COUNTING_EMIT")),
    )
    ledger = UnguardedProgress() if os.environ.get("COUNTING_UNGUARDED") else progress
    async with open_bench(
        load(KafkaSettings),
        load(DatabaseSettings),
        role=role,
        consumer=load(ConsumerSettings),
        ledger=ledger,
    ) as bench:
        await run_role(bench.parts, stop)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the roles do
        runner.run(_main())
    sys.exit(0)
