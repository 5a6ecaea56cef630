"""What a role is: two functions. The loop around them is the same for all.

prepare  slow and free of effects; may be called again with the same records
apply    only SQL, inside the transaction that also moves the offsets
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from core.errors import PermanentError
from core.transaction import Transaction
from schemas.quick import quick_value
from schemas.record import Partition, Record

E = TypeVar("E")
P = TypeVar("P")
EventT = TypeVar("EventT")
PlanT = TypeVar("PlanT")


@quick_value
class Received(Generic[E]):
    """A decoded event with the place where it lay.

    Attributes:
        record: the bytes and headers as they were.
        timestamp_ms: the record's timestamp (producer's clock), milliseconds since 1970.
    """

    event: E
    partition: Partition
    offset: int
    record: Record
    timestamp_ms: int

    @property
    def event_id(self) -> str:
        """`ce_id`, or `<topic>/<partition>/<offset>` where a foreign producer sent none."""
        told = self.record.header("ce_id")
        if told is not None:
            return told
        return f"{self.partition.topic}/{self.partition.number}/{self.offset}"

    @property
    def traceparent(self) -> str | None:
        """W3C trace context, if the record carries one."""
        return self.record.header("traceparent")


@quick_value
class Item(Generic[E, P]):
    """A received event with what `prepare` made of it: a plan, or why there is none.

    The loop itself makes items whose plan is `ProcessCrashed` or `RecordRefused`, for records
    that must not be prepared (again): `apply` treats them as any other failure.
    """

    received: Received[E]
    plan: P | PermanentError


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record to be set aside as a dead letter."""

    partition: Partition
    offset: int
    error: PermanentError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `apply` leaves for the loop to write: events that must leave, records to set aside."""

    emitted: tuple[Record, ...] = ()
    rejected: tuple[Rejection, ...] = ()


class Role(Protocol[EventT, PlanT]):
    """A consumer's knowledge of its domain."""

    async def prepare(self, batch: Sequence[Received[EventT]]) -> Sequence[Item[EventT, PlanT]]:
        """Return one item per record, in the same order.

        Raises:
            TransientError: something outside is away; the loop waits and calls again.
        """
        ...

    async def apply(self, items: Sequence[Item[EventT, PlanT]], tx: Transaction) -> Outcome:
        """Write the effects of these items, and nothing else, through `tx`."""
        ...
