"""A role is two functions; the loop around them is the same for all.

prepare  slow and free of effects; may be called again with the same records
apply    only SQL, inside the transaction that also moves the offsets
"""

from collections.abc import Callable, Sequence
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
    """A decoded event with its place in the log.

    Attributes:
        record: the bytes and headers as they were; CloudEvents of structured mode in binary mode.
        timestamp_ms: the record's timestamp (producer's clock), milliseconds since 1970.
    """

    event: E
    partition: Partition
    offset: int
    record: Record
    timestamp_ms: int

    @property
    def event_id(self) -> str:
        """Return `ce_id`, or `<topic>/<partition>/<offset>` where a foreign producer sent none."""
        given = self.record.header("ce_id")
        if given is not None:
            return given
        return f"{self.partition.topic}/{self.partition.number}/{self.offset}"

    @property
    def traceparent(self) -> str | None:
        """Return the W3C trace context, if the record carries one."""
        return trace_of(self.record)


def trace_of(record: Record) -> str | None:
    """Return a record's W3C trace context: a header, or an extension of CloudEvents."""
    return record.header("traceparent") or record.header("ce_traceparent")


@quick_value
class Item(Generic[E, P]):
    """A received event with its plan, or the error for which it has none.

    Usually `prepare` returns it. The loop itself makes items whose plan is `ProcessCrashed` or
    `RecordRefused`, for records that must not be prepared (again); `apply` treats them as any other
    failure.
    """

    received: Received[E]
    plan: P | PermanentError


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that is to become a dead letter."""

    partition: Partition
    offset: int
    error: PermanentError


#: Tells somebody in this process of a commit; returns at once and does not fail.
Notice = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the loop is to do after `apply`.

    Attributes:
        emitted: events for the outbox, written in the same transaction.
        rejected: dead letters, as well.
        notices: called once the transaction has committed, and not at all where it was rolled back
            or nobody knows. Whoever looks at the tables earlier does not see what was written, so
            `apply` itself tells nobody (docs/decisions/0023). What must not be missed is found by
            looking; a notice only makes it sooner.
    """

    emitted: tuple[Record, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    notices: tuple[Notice, ...] = ()


class Role(Protocol[EventT, PlanT]):
    """What one consumer does with its events."""

    async def prepare(self, batch: Sequence[Received[EventT]]) -> Sequence[Item[EventT, PlanT]]:
        """Return one item per record, in the same order.

        Raises:
            TransientError: something outside is away; the loop waits and calls again.
        """
        ...

    async def apply(self, items: Sequence[Item[EventT, PlanT]], tx: Transaction) -> Outcome:
        """Write the effects of these items, and nothing else, through `tx`.

        It may yet be rolled back, and be called again: what others are to be told of it is a notice
        of the outcome.
        """
        ...
