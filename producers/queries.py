"""The only maker of new `queries.submitted` events, and how a query is identified."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5

from core.messaging.cloudevents import encode
from producers.sinks import Sink
from schemas.query import QuerySubmitted
from schemas.strict import NAMESPACE
from schemas.topics import QUERIES_SUBMITTED


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class QueryProducer:
    """Submits queries.

    Attributes:
        source: `ce_source` of the events, e.g. `/ingress`.
    """

    sink: Sink
    source: str
    now: Callable[[], datetime] = _now

    async def submit(self, query: QuerySubmitted) -> QuerySubmitted:
        """Ask; return the event as it was put. The same `query_id` again asks nothing new.

        Args:
            query: its `submitted_at` is set here; without a `query_id` it gets a fresh one.

        Raises:
            TransientError: the sink did not take it; submitting again is harmless.
        """
        query_id = query.query_id or fresh_query_id()
        event = query.model_copy(update={"query_id": query_id, "submitted_at": self.now()})
        record = encode(
            QUERIES_SUBMITTED,
            event,
            key=str(query_id),
            event_id=str(query_id),
            source=self.source,
            now=self.now(),
        )
        await self.sink.put(record)
        return event


def query_id_of(owner: str, idempotency_key: str) -> UUID:
    """Return the query's identity where the caller chose a key: UUIDv5 of (owner, key).

    The owner's length comes first, so that no two pairs give the same text.
    """
    return uuid5(NAMESPACE, f"query/{len(owner)}/{owner}/{idempotency_key}")


def fresh_query_id() -> UUID:
    """Return a UUIDv7 (RFC 9562, 5.7): it is time-ordered, so new index entries are adjacent."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & ((1 << 48) - 1)) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return UUID(int=value)
