"""Where producers put new records: the ingress into its outbox, commands straight to Kafka."""

from typing import Protocol

from schemas.record import Record


class Sink(Protocol):
    """Accepts a record durably, or raises."""

    async def put(self, record: Record) -> None:
        """Take one record.

        Raises:
            TransientError: it was not taken; putting it again is safe.
        """
        ...
