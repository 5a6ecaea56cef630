"""Where new events go: into the outbox of an open transaction, or straight to Kafka."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.messaging.ports import Sent
from core.offsets import OutboxRow
from core.transaction import Transaction
from schemas.record import Record


class Sink(Protocol):
    """Takes a record for good, or raises."""

    async def put(self, record: Record) -> None:
        """Take one record.

        Raises:
            TransientError: it was not taken; putting it again is safe.
        """
        ...


class OutboxTable(Protocol):
    """The table of events that must leave."""

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        """Write rows; return them in order."""
        ...


class Publisher(Protocol):
    """Hands records to the broker and waits for its acknowledgement."""

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        """Return one outcome per record, in order; never raises for one of them."""
        ...


@dataclass(slots=True)
class OutboxSink:
    """Writes records into the outbox, in the caller's transaction: they leave if it commits.

    Attributes:
        rows: what was put, in order.
    """

    tx: Transaction
    table: OutboxTable
    rows: list[OutboxRow] = field(default_factory=list)

    async def put(self, record: Record) -> None:
        """Write one record."""
        self.rows += await self.table.add(self.tx, [record])
