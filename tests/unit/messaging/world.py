"""The loop of one member with everything around it in memory, on a virtual clock."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from prometheus_client import CollectorRegistry

from core.errors import (
    DatabaseAway,
    PermanentError,
    UndecodableEvent,
)
from core.messaging.limits import LoopLimits
from core.messaging.loop import run_role
from core.messaging.role import Item, Outcome, Received, Rejection
from core.messaging.session import Backoff, Isolation, RoleParts
from core.offsets import Owner
from core.settings import ConsumerSettings, OutboxSettings
from core.telemetry.metrics import Metrics
from core.transaction import Transaction
from schemas.record import Partition, Record
from tests.counting import TOPIC
from tests.fakes.messaging import MemoryGroupClient, MemoryLog, MemoryPublisher
from tests.simulation.database import Effect, Session, SimDatabase
from tests.simulation.ports import Connection, SimDeadLetters, SimLedger, SimMembers, SimOutbox
from tests.simulation.wire import Wire

PARTITIONS = [Partition(TOPIC.name, number) for number in range(3)]


@dataclass(slots=True)
class NotingRole:
    """Writes each number; remembers what overlapped."""

    emit: bool = False
    prepare_s: float = 0.0
    apply_s: float = 0.001
    preparing: int = 0
    most_preparing: int = 0
    prepared_while_applying: int = 0
    batches: list[int] = field(default_factory=list)
    failures: list[PermanentError] = field(default_factory=list)

    async def prepare(self, batch: Sequence[Received[int]]) -> list[Item[int, int]]:
        self.preparing += 1
        self.most_preparing = max(self.most_preparing, self.preparing)
        await asyncio.sleep(self.prepare_s)
        self.preparing -= 1
        self.batches.append(len(batch))
        return [Item(received, received.event) for received in batch]

    async def apply(self, items: Sequence[Item[int, int]], tx: Transaction) -> Outcome:
        self.prepared_while_applying += self.preparing
        effects, rejected = [], []
        for item in items:
            place = (item.received.partition, item.received.offset)
            if isinstance(item.plan, PermanentError):
                self.failures.append(item.plan)
                rejected.append(Rejection(*place, item.plan))
            else:
                effects.append(Effect(*place, item.plan))
        await tx.execute("effects", effects, frozenset())
        await asyncio.sleep(self.apply_s)
        emitted = [Record("out", None, (), item.received.record.value) for item in items]
        return Outcome(tuple(emitted) if self.emit else (), tuple(rejected))


def decode(record: Record) -> int:
    try:
        return int(json.loads(record.value))
    except ValueError as error:
        raise UndecodableEvent("no number") from error


class Scripted(Connection):
    """A connection whose commits of progress fail as they are told to.

    Attributes:
        failures: one per commit to come: "before" loses it, "after" commits it and loses the
            answer, "" lets it pass.
    """

    failures: Sequence[str] = ()

    async def commit(self, session: Session) -> None:
        failure = ""
        if self.failures and self.database.moves(session):
            failure, *self.failures = self.failures
        if failure == "before":
            self.database.end(session)
            raise DatabaseAway("lost before its commit")
        await super().commit(session)
        if failure == "after":
            raise DatabaseAway("committed, but nobody heard of it")


class World:
    """A log with numbers, everything in memory, one member."""

    def __init__(
        self, count: int = 60, *, dead_letter_window: int = 200, **consumer: float
    ) -> None:
        self.log = MemoryLog()
        for partition in PARTITIONS:
            self.log.append(partition)
        for number in range(count):
            record = Record(TOPIC.name, None, (), str(number).encode())
            self.log.append(PARTITIONS[number % 3], record)
        self.database = SimDatabase()
        self.sql = Wire(Random(1), DatabaseAway)
        self.connection = Scripted(self.database, self.sql)
        self.publisher = MemoryPublisher()
        self.client = MemoryGroupClient(self.log)
        self.role = NotingRole()
        self.evicted: list[str] = []
        self.metrics = Metrics(CollectorRegistry())
        options = {"batch_max_records": 7, "drain_timeout_s": 5}
        self.settings = ConsumerSettings.model_validate(options | consumer)
        self.limits = LoopLimits(
            queue_max_records=20,
            sweep_interval_s=0.02,
            dead_letter_window=dead_letter_window,
        )
        self.isolation = Isolation()

    def parts(self) -> RoleParts[int, int]:
        async def evict(member_id: str) -> bool:
            self.evicted.append(member_id)
            return True

        return RoleParts(
            role=self.role,
            owner=Owner("g", "me", isolate_after=2, isolate_span=10),
            instance="i",
            topic=TOPIC,
            decode=decode,
            client=self.client,
            evict=evict,
            database=self.connection,
            ledger=SimLedger(),
            members=SimMembers(),
            dead_letters=SimDeadLetters(),
            outbox=SimOutbox(),
            publisher=self.publisher,
            settings=self.settings,
            outbox_settings=OutboxSettings(sweep_age_s=0),
            limits=self.limits,
            metrics=self.metrics,
            backoff=Backoff(first_s=0.001, longest_s=0.005),
            isolation=self.isolation,
        )

    def effects(self) -> Counter[int]:
        return Counter(effect.number for effect in self.database.effects)

    def attempts(self, partition: Partition) -> list[int]:
        """Offsets that were written down as being at work alone."""
        notes = [note[1:] for note in self.database.history if note[1] == "attempt"]
        return [int(str(offset)) for _, place, offset in notes if place == partition]

    @property
    def passed(self) -> int:
        return sum(row.next_offset for row in self.database.rows.values())

    async def run(self, until_passed: int, *, disturb: "asyncio.Task[None] | None" = None) -> None:
        """Run until so many offsets are passed, then stop cleanly."""
        stop = asyncio.Event()
        task = asyncio.create_task(run_role(self.parts(), stop))
        async with asyncio.timeout(20):
            while (self.passed < until_passed or disturb) and not task.done():
                await asyncio.sleep(0.001)
                if disturb is not None and disturb.done():
                    await disturb
                    disturb = None
            stop.set()
            await task
