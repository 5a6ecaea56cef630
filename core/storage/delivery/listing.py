"""Webhooks as people see them: of one query, and what waits."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.storage.delivery.target_health import WAITS
from core.transaction import Transaction

_OF_QUERY = f"""
SELECT d.delivery_id, d.url, d.target, d.state, d.attempt, d.next_at, d.reason, d.created_at,
       d.finished_at, d.stopped_by, d.is_manual, w.waits_for, w.waits_until,
       coalesce((SELECT jsonb_agg(to_jsonb(a) - 'delivery_id' - 'body'
                                  || jsonb_build_object('body', encode(a.body, 'base64'))
                                  ORDER BY a.attempt)
                 FROM attempts a WHERE a.delivery_id = d.delivery_id), '[]')::text AS attempts
FROM deliveries d {WAITS}
WHERE d.query_id = $1 ORDER BY d.created_at, d.delivery_id
"""  # noqa: S608 - a constant

# By lines that are due, as a claim sees them, and up to a bound: neither what waits for later nor a
# long backlog costs anything.
_BACKLOG = """
SELECT count(*) AS due, coalesce(extract(epoch FROM now() - min(next_at)), 0)::float8 AS oldest_s
FROM (
    SELECT w.next_at FROM (
        SELECT target, sender, line, again FROM lanes l
        WHERE again IN (false, true) AND due_at <= now()
          AND NOT EXISTS (SELECT FROM targets t
                          WHERE t.target = l.target AND t.disabled_at IS NOT NULL)
        ORDER BY due_at LIMIT $1) l
    CROSS JOIN LATERAL (
        SELECT d.next_at FROM deliveries d
        WHERE d.state = 'due' AND d.target = l.target AND d.sender = l.sender
          AND d.line = l.line AND (d.attempt > 0) = l.again AND d.next_at <= now()
        ORDER BY d.next_at LIMIT $1) w
    LIMIT $1) due
"""


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """A webhook as people see it, with all its attempts.

    Attributes:
        stopped_by: who stopped it; an attempt under way then comes to its end.
        is_manual: a person asked for the attempt that is next, or under way.
        waits_for: `disabled`, `breaker`, `retry_after`, `schedule`, `rate`, `room`; None: it waits
            for nothing, or is not `due`.
        waits_until: when that ends; None: that is not known.
    """

    delivery_id: UUID
    url: str
    target: str
    state: str
    attempt: int
    next_at: datetime | None
    reason: str | None
    created_at: datetime
    finished_at: datetime | None
    stopped_by: str | None
    is_manual: bool
    waits_for: str | None
    waits_until: datetime | None
    attempts: tuple[dict[str, Any], ...]


async def backlog(connection: Transaction, *, bound: int = 10_000) -> tuple[int, float]:
    """Return how many webhooks are due and not leased, up to `bound`, and the oldest one's wait.

    Those of disabled targets do not count: they wait for a person.
    """
    row = await connection.fetchrow(_BACKLOG, bound)
    return (0, 0.0) if row is None else (row["due"], row["oldest_s"])


async def of_query(connection: Transaction, query_id: UUID) -> tuple[DeliveryStatus, ...]:
    """Return a query's webhooks with their attempts, oldest first."""
    rows = await connection.fetch(_OF_QUERY, query_id)
    return tuple(
        DeliveryStatus(**{**dict(row), "attempts": tuple(_attempts(row["attempts"]))})
        for row in rows
    )


def _attempts(text: str) -> Iterator[dict[str, Any]]:
    for row in json.loads(text):
        body = row["body"]
        words = None if body is None else base64.b64decode(body).decode(errors="replace")
        yield {**row, "body": words}
