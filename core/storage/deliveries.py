"""Deliveries: the durable schedule of webhooks, with leases and attempts."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from core.transaction import Transaction

_INTAKE = """
INSERT INTO deliveries (delivery_id, query_id, owner, host, url, event, state)
SELECT u.delivery_id, u.query_id, u.owner, u.host, u.url, u.event::jsonb, 'due'
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
     AS u (delivery_id, query_id, owner, host, url, event)
ORDER BY u.delivery_id
ON CONFLICT (delivery_id) DO NOTHING
"""

# One index probe per host that has due rows (a loose index scan), then the best few of each:
# a host with a long backlog costs no more than any other. First tries come before retries. Each
# tier of hosts has its own bound, so that no number of bad hosts takes the workers of the good.
_CLAIM = """
WITH RECURSIVE lanes AS (
    (SELECT host FROM deliveries WHERE state = 'due' ORDER BY host LIMIT 1)
    UNION ALL
    SELECT (SELECT d.host FROM deliveries d
            WHERE d.state = 'due' AND d.host > lanes.host ORDER BY d.host LIMIT 1)
    FROM lanes WHERE lanes.host IS NOT NULL
), known AS (
    SELECT * FROM unnest($1::text[], $2::int4[], $3::int4[]) AS k (host, room, tier)
), found AS (
    SELECT due.*, coalesce(known.tier, 1) AS tier
    FROM lanes LEFT JOIN known USING (host)
    CROSS JOIN LATERAL (
        SELECT d.delivery_id, d.attempt > 0 AS again, d.next_at FROM deliveries d
        WHERE d.state = 'due' AND d.host = lanes.host AND d.next_at <= now()
        ORDER BY d.attempt > 0, d.next_at
        LIMIT coalesce(known.room, $4)
    ) due
    WHERE lanes.host IS NOT NULL
      AND NOT EXISTS (SELECT FROM hosts h WHERE h.host = lanes.host AND h.disabled_at IS NOT NULL)
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY tier ORDER BY again, next_at) AS place FROM found
), wanted AS (
    SELECT delivery_id FROM placed WHERE place <= ($5::int4[])[tier + 1]
    ORDER BY again, next_at LIMIT $6
), locked AS (
    SELECT delivery_id FROM deliveries
    WHERE delivery_id IN (SELECT delivery_id FROM wanted) AND state = 'due'
    FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET state = 'leased', attempt = d.attempt + 1, token = $7,
                        lease_until = clock_timestamp() + $8::interval
FROM locked WHERE d.delivery_id = locked.delivery_id
RETURNING d.delivery_id, d.query_id, d.owner, d.host, d.url, d.event::text AS event, d.attempt,
          d.attempt - d.attempts_before AS made, coalesce(d.asked_at, d.created_at) AS created_at
"""

# Attempts beyond the schedule are only made by deaths: one more has its chance to be recorded.
_EXPIRE = """
WITH expired AS (
    SELECT delivery_id, attempt - attempts_before > $1 AS spent FROM deliveries
    WHERE state = 'leased' AND lease_until < now()
    ORDER BY lease_until LIMIT 500 FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET state = CASE WHEN spent THEN 'dead' ELSE 'due' END,
       token = NULL, lease_until = NULL, next_at = now(),
       reason = CASE WHEN spent THEN 'process_crashed' END,
       finished_at = CASE WHEN spent THEN now() END
FROM expired e WHERE d.delivery_id = e.delivery_id
RETURNING spent
"""

# A 2xx counts also where the lease has run out meanwhile: it happened, and ends the retries. The
# attempt is noted in any case, unless the query was deleted.
_SETTLE = """
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::interval[], $5::text[],
                         $6::int4[], $7::timestamptz[], $8::int4[], $9::int4[], $10::text[],
                         $11::text[])
         AS g (delivery_id, token, state, pause, reason,
               attempt, started_at, took_ms, status, error, detail)
), noted AS (
    INSERT INTO attempts (delivery_id, attempt, started_at, took_ms, status, error, detail)
    SELECT g.delivery_id, g.attempt, g.started_at, g.took_ms, g.status, g.error, g.detail
    FROM given g JOIN deliveries d USING (delivery_id)
    ON CONFLICT (delivery_id, attempt) DO NOTHING
)
UPDATE deliveries d SET state = g.state, next_at = coalesce(now() + g.pause, d.next_at),
       reason = g.reason, token = NULL, lease_until = NULL,
       finished_at = CASE WHEN g.state IN ('delivered', 'dead') THEN now() END
FROM given g
WHERE d.delivery_id = g.delivery_id
  AND (d.state = 'leased' AND d.token = g.token
       OR g.state = 'delivered' AND d.state <> 'delivered')
RETURNING d.delivery_id
"""

# Not charged to the target: the attempt is taken back.
_RELEASE = """
UPDATE deliveries SET state = 'due', attempt = attempt - 1, token = NULL, lease_until = NULL,
       next_at = now() + $3::interval
WHERE delivery_id = $1 AND token = $2 AND state = 'leased'
"""

_OF_QUERY = """
SELECT d.delivery_id, d.url, d.host, d.state, d.attempt, d.next_at, d.reason, d.created_at,
       d.finished_at,
       coalesce((SELECT jsonb_agg(to_jsonb(a) - 'delivery_id' ORDER BY a.attempt)
                 FROM attempts a WHERE a.delivery_id = d.delivery_id), '[]')::text AS attempts
FROM deliveries d WHERE d.query_id = $1 ORDER BY d.created_at, d.delivery_id
"""

# Counted to a bound: a long backlog must not make looking at it dear.
_BACKLOG = """
SELECT count(*) AS due, coalesce(extract(epoch FROM now() - min(next_at)), 0)::float8 AS oldest_s
FROM (SELECT next_at FROM deliveries WHERE state = 'due' AND next_at <= now() LIMIT $1) d
"""

_NEXT_DUE = "SELECT min(next_at) - now() FROM deliveries WHERE state = 'due'"


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A webhook to be sent; `event` is the callback event as JSON."""

    delivery_id: UUID
    query_id: UUID
    owner: str | None
    host: str
    url: str
    event: str


@dataclass(frozen=True, slots=True)
class Leased:
    """A webhook that is ours to send until the lease ends.

    Attributes:
        attempt: this one's number, over all redeliveries.
        made: its number since the webhook was last put on the schedule, at `created_at`.
        deadline: the lease lasts at least until then, by `time.monotonic` of this process.
    """

    delivery_id: UUID
    query_id: UUID
    owner: str | None
    host: str
    url: str
    event: str
    attempt: int
    made: int
    created_at: datetime
    token: UUID
    deadline: float


@dataclass(frozen=True, slots=True)
class Room:
    """What may be claimed.

    Attributes:
        hosts: those with a room of their own; `rooms` and `tiers` (0 to 2) belong to them.
        new_host: room of each host that is not named; these are of tier 1.
        by_tier: most of each tier.
        total: most of all.
    """

    hosts: Sequence[str] = ()
    rooms: Sequence[int] = ()
    tiers: Sequence[int] = ()
    new_host: int = 1
    by_tier: Sequence[int] = (100, 100, 100)
    total: int = 100


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one try. `status` is HTTP's; `error` the class where there was no answer."""

    started_at: datetime
    took_ms: int
    status: int | None = None
    error: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """How a lease ends: `delivered`, `dead`, or `due` again at `next_at`."""

    state: str
    next_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """A webhook as people see it, with all its attempts."""

    delivery_id: UUID
    url: str
    host: str
    state: str
    attempt: int
    next_at: datetime | None
    reason: str | None
    created_at: datetime
    finished_at: datetime | None
    attempts: tuple[dict[str, Any], ...]


async def intake(tx: Transaction, deliveries: Sequence[NewDelivery]) -> None:
    """Put webhooks on the schedule, due at once; one that is there already stays as it is."""
    if deliveries:
        await tx.execute(
            _INTAKE,
            [item.delivery_id for item in deliveries],
            [item.query_id for item in deliveries],
            [item.owner for item in deliveries],
            [item.host for item in deliveries],
            [item.url for item in deliveries],
            [item.event for item in deliveries],
        )


async def claim(tx: Transaction, room: Room, *, token: UUID, lease_s: float) -> list[Leased]:
    """Lease due webhooks of hosts that are not disabled, within the room.

    The attempt is counted here, before anything is sent, so that a target that kills us does not
    get endless tries.
    """
    if room.total <= 0:
        return []
    deadline = time.monotonic() + lease_s  # before PostgreSQL begins to count
    rows = await tx.fetch(
        _CLAIM,
        room.hosts,
        room.rooms,
        room.tiers,
        room.new_host,
        room.by_tier,
        room.total,
        token,
        timedelta(seconds=lease_s),
    )
    return [Leased(**dict(row), token=token, deadline=deadline) for row in rows]


async def expire_leases(tx: Transaction, *, attempts: int) -> tuple[int, int]:
    """Make webhooks due again whose lease ran out (the worker died).

    One that was tried more often than the schedule has `attempts`, and had no outcome, is given up
    (`process_crashed`): it may be what kills the workers. Gives how many are due and given up.
    """
    rows = await tx.fetch(_EXPIRE, attempts)
    given_up = sum(row["spent"] for row in rows)
    return len(rows) - given_up, given_up


async def settle(tx: Transaction, ended: Sequence[tuple[Leased, Attempt, Settled]]) -> set[UUID]:
    """Record attempts and what follows of each; give those that were still ours to settle.

    What is due again is so by PostgreSQL's clock, which also claims it: ours may be hours off.
    """
    now = datetime.now(UTC)
    columns = zip(
        *(
            (
                lease.delivery_id, lease.token, outcome.state,
                None if outcome.next_at is None else outcome.next_at - now, outcome.reason,
                lease.attempt, attempt.started_at, attempt.took_ms, attempt.status, attempt.error,
                attempt.detail,
            )
            for lease, attempt, outcome in ended
        ),
        strict=True,
    )  # fmt: skip
    rows = await tx.fetch(_SETTLE, *columns)
    return {row["delivery_id"] for row in rows}


async def release(tx: Transaction, lease: Leased, delay_s: float) -> None:
    """Give a lease back unused, for a fault of our own: the attempt is not charged."""
    await tx.execute(_RELEASE, lease.delivery_id, lease.token, timedelta(seconds=delay_s))


async def backlog(connection: Transaction, *, bound: int = 10_000) -> tuple[int, float]:
    """Give how many webhooks are due and not leased, up to `bound`, and the oldest one's wait."""
    row = await connection.fetchrow(_BACKLOG, bound)
    return (0, 0.0) if row is None else (row["due"], row["oldest_s"])


async def seconds_to_next(connection: Transaction) -> float | None:
    """Give the seconds until something is due; None where nothing is scheduled."""
    wait = await connection.fetchval(_NEXT_DUE)
    return None if wait is None else float(wait.total_seconds())


async def of_query(connection: Transaction, query_id: UUID) -> tuple[DeliveryStatus, ...]:
    """Give a query's webhooks with their attempts, oldest first."""
    rows = await connection.fetch(_OF_QUERY, query_id)
    return tuple(
        DeliveryStatus(**{**dict(row), "attempts": tuple(json.loads(row["attempts"]))})
        for row in rows
    )
