"""What traces and log lines say of a batch's records."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from core.messaging.batching import PartitionBatch
from core.messaging.cloudevents import made_at
from core.messaging.role import Item, trace_of
from core.telemetry import tracing
from schemas.record import Record

#: An event that was made longer before Kafka had it came back from somewhere: out of the dead
#: letters, say. Its span begins when the broker took it.
LONGEST_WAY_NS = 3600 * 10**9


class Times(NamedTuple):
    """When a batch was prepared: from, to, in nanoseconds since 1970."""

    from_ns: int
    to_ns: int


def place_of(batch: Sequence[PartitionBatch]) -> dict[str, object]:
    """Return the fields of log lines about a batch: place and trace of its first record."""
    partition_batch = next((one for one in batch if len(one)), batch[0])
    place: dict[str, object] = {
        "partition": partition_batch.partition.number,
        "offset": partition_batch.from_offset,
    }
    if len(partition_batch):
        offset, _, record = partition_batch.records[0]
        place |= {"offset": offset, "trace_id": tracing.trace_id(trace_of(record))}
    return place


def record_spans(
    name: str, portion: Iterable[tuple[PartitionBatch, Sequence[Any]]], prepared: Times
) -> None:
    """Record a span for each record of a committed portion, in the record's own trace.

    It lasts from when the event was made until now, so that the spans of one photo or query leave
    no time between them; its attributes say how that was spent.
    """
    now_ns = time.time_ns()
    spent = {
        "prepare_ms": (prepared.to_ns - prepared.from_ns) / 1e6,
        "commit_ms": (now_ns - prepared.to_ns) / 1e6,
    }
    for partition_batch, results in portion:
        place = {"messaging.destination.partition.id": partition_batch.partition.number}
        for (offset, timestamp_ms, original), made in zip(
            partition_batch.records, results, strict=True
        ):
            record = made.received.record if isinstance(made, Item) else original
            made_ns = min(prepared.from_ns, _made_ns(record, timestamp_ms))
            wait_ms = (prepared.from_ns - made_ns) / 1e6
            tracing.passed(
                name,
                trace_of(record),
                from_ns=made_ns,
                to_ns=now_ns,
                attributes={
                    **place,
                    "messaging.kafka.offset": offset,
                    "wait_ms": wait_ms,
                    **spent,
                },
            )


def _made_ns(record: Record, timestamp_ms: int) -> int:
    """Return when a record was made: by its own time, or when the broker took it."""
    published_ns = timestamp_ms * 1_000_000
    made = made_at(record)
    if made is None:
        return published_ns
    made_ns = round(made.timestamp() * 1e9)
    return made_ns if published_ns - LONGEST_WAY_NS < made_ns < published_ns else published_ns
