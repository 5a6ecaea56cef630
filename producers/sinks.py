"""Where new events go: into the outbox of an open transaction, or straight to Kafka."""

from dataclasses import dataclass, field
from typing import Protocol

from core.messaging.outbox import OutboxPublisher
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


@dataclass(slots=True)
class OutboxSink:
    """Writes records into the outbox, in the caller's transaction: they leave if it commits.

    Attributes:
        rows: what was put, in order.
    """

    tx: Transaction
    outbox: OutboxPublisher
    rows: list[OutboxRow] = field(default_factory=list)

    async def put(self, record: Record) -> None:
        """Write one record."""
        self.rows += await self.outbox.add(self.tx, [record])
