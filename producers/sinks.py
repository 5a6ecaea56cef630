"""Where producers put new records: the ingress into its outbox, commands straight to Kafka."""

from collections.abc import Sequence
from typing import Protocol

from core.messaging.ports import Sent
from schemas.record import Record


class Sink(Protocol):
    """Takes a record for good, or raises."""

    async def put(self, record: Record) -> None:
        """Take one record.

        Raises:
            TransientError: it was not taken; putting it again is safe.
        """
        ...


class Publisher(Protocol):
    """Hands records to the broker and waits for its acknowledgement."""

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        """Return one outcome per record, in order; never raises for one of them."""
        ...
