"""Turn callback events into rows of the delivery schedule. Nothing is sent from here."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from core.errors import PermanentError
from core.failpoints import reach
from core.messaging.role import Item, Outcome, Received, Rejection
from core.transaction import Transaction
from schemas.callback import CallbackRequested, callback_id_of

DeliveryItem = Item[CallbackRequested, UUID]
#: Puts answers on the schedule, due at once, by their webhook's id; known ones stay as they are.
Schedule = Callable[[Transaction, Mapping[UUID, CallbackRequested]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DeliveryRole:
    """Callback events -> due rows. `arrived` wakes the lanes of this process after the commit."""

    schedule: Schedule
    arrived: Callable[[], None]

    async def prepare(self, batch: Sequence[Received[CallbackRequested]]) -> list[DeliveryItem]:
        """Find the id that each webhook has on the wire."""
        return [Item(received, _delivery_id(received)) for received in batch]

    async def apply(self, items: Sequence[DeliveryItem], tx: Transaction) -> Outcome:
        """Write the rows."""
        events: dict[UUID, CallbackRequested] = {}
        for item in items:
            if isinstance(item.plan, UUID):  # of two requests under one id the first counts
                events.setdefault(item.plan, item.received.event)
        await self.schedule(tx, events)
        reach("delivery.scheduled")
        return Outcome(
            notices=(self.arrived,),
            rejected=tuple(
                Rejection(it.received.partition, it.received.offset, it.plan)
                for it in items
                if isinstance(it.plan, PermanentError)
            ),
        )


def _delivery_id(received: Received[CallbackRequested]) -> UUID:
    try:
        return UUID(received.event_id)
    except ValueError:  # a foreign producer: one answer, one id
        return callback_id_of(received.event.query_id)
