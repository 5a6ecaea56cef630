"""W3C trace context on records: the header goes with the event through Kafka."""

from dataclasses import replace

from schemas.record import Record


def with_trace(record: Record, traceparent: str | None) -> Record:
    """Return the record with its `traceparent`; unchanged where there is none."""
    if traceparent is None:
        return record
    return replace(record, headers=(*record.headers, ("traceparent", traceparent.encode())))
