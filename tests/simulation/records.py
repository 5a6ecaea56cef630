"""What lies in the simulated log, and the role that works on it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from core.errors import BlobStoreAway, PermanentError, UndecodableEvent
from core.messaging.role import Item, Outcome, Received, Rejection
from core.transaction import Transaction
from schemas.record import Partition, Record
from tests.counting import TOPIC
from tests.simulation.client import GARBLED
from tests.simulation.clock import Life
from tests.simulation.database import Effect
from tests.simulation.wire import Wire

PARTITIONS = tuple(Partition(TOPIC.name, number) for number in range(3))
#: What may lie in the log, and the reason of its dead letter.
REASONS = {
    "bad": "undecodable_event",
    "garbled": "unreadable_record",
    "refuse": "database_refused",
    "reject": "asked_for",
    "kill": "process_crashed",
}


class Surroundings(Protocol):
    """What the role meets: the world."""

    random: Random
    kafka: Wire
    prepare_s: Sequence[float]
    prepare_away: float

    def kill(self, life: Life) -> None: ...


@dataclass(slots=True)
class Plan:
    """What the log holds.

    Attributes:
        kinds: of each number: "" is a good one, None an offset that the log does not have.
    """

    kinds: list[str | None] = field(default_factory=list)

    def place(self, number: int) -> tuple[Partition, int]:
        """Where a number lies."""
        return PARTITIONS[number % len(PARTITIONS)], number // len(PARTITIONS)

    def record(self, number: int) -> Record | None:
        """What lies there."""
        kind = self.kinds[number]
        if kind is None:
            return None
        values = {"bad": b"nonsense", "garbled": GARBLED}
        value = values.get(kind, json.dumps([number, kind]).encode())
        return Record(TOPIC.name, None, (), value)


def decode(record: Record) -> tuple[int, str]:
    """Number and kind."""
    try:
        number, kind = json.loads(record.value)
    except ValueError as error:
        raise UndecodableEvent("no number") from error
    return number, kind


@dataclass(slots=True)
class SimRole:
    """Writes each number once and says so; does on the way what its kind says."""

    world: Surroundings
    life: Life
    refused: frozenset[int]

    async def prepare(
        self, batch: Sequence[Received[tuple[int, str]]]
    ) -> list[Item[tuple[int, str], int]]:
        random = self.world.random
        await asyncio.sleep(random.choice(self.world.prepare_s))
        if random.random() < self.world.prepare_away:
            raise BlobStoreAway("not now")
        if any(received.event[1] == "kill" for received in batch):
            self.world.kill(self.life)
            await self.world.kafka.stand_still()
        return [Item(received, received.event[0]) for received in batch]

    async def apply(self, items: Sequence[Item[tuple[int, str], int]], tx: Transaction) -> Outcome:
        effects, rejected, emitted = [], [], []
        for item in items:
            received = item.received
            place = (received.partition, received.offset)
            if isinstance(item.plan, PermanentError):
                rejected.append(Rejection(*place, item.plan))
            elif received.event[1] == "reject":
                error = PermanentError("asked for", reason="asked_for")
                rejected.append(Rejection(*place, error))
            else:
                effects.append(Effect(*place, item.plan))
                emitted.append(Record("out", None, (), received.record.value))
        await tx.execute("effects", tuple(effects), self.refused)
        return Outcome(tuple(emitted), tuple(rejected))
