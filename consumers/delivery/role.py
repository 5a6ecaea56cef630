"""Turn callback events into rows of the delivery schedule. Nothing is sent from here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from core.errors import PermanentError
from core.failpoints import reach
from core.messaging.role import Item, Outcome, Received, Rejection
from core.transaction import Transaction
from schemas.callback import CallbackRequested, callback_id_of


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A webhook for the schedule: its id on the wire, and whose lane it belongs to."""

    delivery_id: UUID
    host: str
    event: CallbackRequested


class Schedule(Protocol):
    """Where deliveries are kept."""

    async def intake(self, tx: Transaction, deliveries: Sequence[Scheduled]) -> None:
        """Put deliveries on the schedule, due at once; known ones stay as they are."""
        ...


DeliveryItem = Item[CallbackRequested, Scheduled]


@dataclass(frozen=True, slots=True)
class DeliveryRole:
    """Callback events -> due rows. `arrived` wakes the lanes of this process."""

    schedule: Schedule
    lane_of: Callable[[str], str]
    arrived: Callable[[], None]

    async def prepare(self, batch: Sequence[Received[CallbackRequested]]) -> list[DeliveryItem]:
        """Find each event's id and lane."""
        return [
            Item(
                received,
                Scheduled(
                    _delivery_id(received),
                    self.lane_of(received.event.url),
                    received.event,
                ),
            )
            for received in batch
        ]

    async def apply(self, items: Sequence[DeliveryItem], tx: Transaction) -> Outcome:
        """Write the rows."""
        plans = {it.plan.delivery_id: it.plan for it in items if isinstance(it.plan, Scheduled)}
        await self.schedule.intake(tx, list(plans.values()))
        reach("delivery.scheduled")
        self.arrived()
        return Outcome(
            rejected=tuple(
                Rejection(it.received.partition, it.received.offset, it.plan)
                for it in items
                if isinstance(it.plan, PermanentError)
            )
        )


def _delivery_id(received: Received[CallbackRequested]) -> UUID:
    try:
        return UUID(received.event_id)
    except ValueError:  # a foreign producer: one answer, one id
        return callback_id_of(received.event.query_id)
