"""Claiming: due webhooks are leased by the lanes of their hosts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from core.transaction import Transaction

# Which lanes: of the hosts we know, the first of each tier; of others, the first that are due. A
# lane yields a webhook at least, so that more lanes than the tier has room for are not looked at,
# whatever the number of hosts and of their webhooks. First tries come before retries. Each tier
# has its own bound, so that no number of bad hosts takes the workers of the good. `NOT IN`, since
# that is hashed whatever the planner believes: the parameters are up to 10,000 hosts, and a nested
# loop over them took a minute. What is left of each lane is noted, but no lock is waited for: a
# `due_at` that stays too early is put right by the next claim (see migrations, 0010_lanes.sql).
# `state || ''` keeps `locked` off the index of what is due: where statistics say that nothing is,
# as after every quiet hour, the whole backlog was walked for each webhook (7 ms for 3,000 of them).
CLAIM = """
WITH known AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::int4[], $3::int4[]) AS k (host, room, tier)
), named AS (
    SELECT l.*, k.room, k.tier,
           row_number() OVER (PARTITION BY k.tier ORDER BY l.again, l.due_at) AS place
    FROM known k JOIN lanes l USING (host)
    WHERE k.room > 0 AND l.due_at <= now()
      AND NOT EXISTS (SELECT FROM hosts h WHERE h.host = l.host AND h.disabled_at IS NOT NULL)
), heads AS (
    SELECT host, again, due_at, touched, room, tier FROM named
    WHERE place <= ($5::int4[])[tier + 1]
    UNION ALL
    SELECT u.host, u.again, u.due_at, u.touched, $4, 1
    FROM (VALUES (false), (true)) AS v (again) CROSS JOIN LATERAL (
        SELECT * FROM lanes l
        WHERE l.again = v.again AND l.due_at <= now()
          AND l.host NOT IN (SELECT host FROM known)
          AND NOT EXISTS (SELECT FROM hosts h WHERE h.host = l.host AND h.disabled_at IS NOT NULL)
        ORDER BY l.due_at LIMIT ($5::int4[])[2]
    ) u
), found AS (
    SELECT due.*, h.again, h.room, h.tier,
           row_number() OVER (PARTITION BY h.host ORDER BY h.again, due.next_at) AS of_host
    FROM heads h CROSS JOIN LATERAL (
        SELECT d.delivery_id, d.next_at FROM deliveries d
        WHERE d.state = 'due' AND d.host = h.host AND (d.attempt > 0) = h.again
          AND d.next_at <= now()
        ORDER BY d.next_at LIMIT h.room
    ) due
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY tier ORDER BY again, next_at) AS place
    FROM found WHERE of_host <= room
), wanted AS (
    SELECT delivery_id FROM placed WHERE place <= ($5::int4[])[tier + 1]
    ORDER BY again, next_at LIMIT $6
), locked AS MATERIALIZED (
    SELECT delivery_id FROM deliveries
    WHERE delivery_id IN (SELECT delivery_id FROM wanted) AND state || '' = 'due'
    FOR UPDATE SKIP LOCKED
), left_over AS (
    SELECT h.host, h.again, h.touched, (
        SELECT d.next_at FROM deliveries d
        WHERE d.state = 'due' AND d.host = h.host AND (d.attempt > 0) = h.again
          AND d.delivery_id NOT IN (SELECT delivery_id FROM locked)
        ORDER BY d.next_at LIMIT 1) AS due_at
    FROM heads h
), changed AS MATERIALIZED (
    SELECT l.host, l.again, o.due_at FROM lanes l JOIN left_over o USING (host, again)
    WHERE l.touched = o.touched AND l.due_at IS DISTINCT FROM o.due_at
    FOR UPDATE OF l SKIP LOCKED
), emptied AS (
    DELETE FROM lanes l USING changed c
    WHERE l.host = c.host AND l.again = c.again AND c.due_at IS NULL
), raised AS (
    UPDATE lanes l SET due_at = c.due_at FROM changed c
    WHERE l.host = c.host AND l.again = c.again AND c.due_at IS NOT NULL
)
UPDATE deliveries d SET state = 'leased', attempt = d.attempt + 1, token = $7,
                        lease_until = clock_timestamp() + $8::interval
FROM locked WHERE d.delivery_id = locked.delivery_id
RETURNING d.delivery_id, d.query_id, d.owner, d.host, d.url, d.event::text AS event, d.attempt,
          d.attempt - d.attempts_before AS made, coalesce(d.asked_at, d.created_at) AS created_at
"""


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


async def claim(
    connection: Transaction, room: Room, *, token: UUID, lease_s: float
) -> list[Leased]:
    """Lease due webhooks of hosts that are not disabled, within the room; one statement.

    The attempt is counted here, before anything is sent, so that a target that kills us does not
    get endless tries.
    """
    if room.total <= 0:
        return []
    deadline = time.monotonic() + lease_s  # before PostgreSQL begins to count
    rows = await connection.fetch(CLAIM, *arguments(room, token, lease_s))
    return [Leased(**dict(row), token=token, deadline=deadline) for row in rows]


def arguments(room: Room, token: UUID, lease_s: float) -> tuple[object, ...]:
    """Parameters of `CLAIM`."""
    return (
        room.hosts, room.rooms, room.tiers, room.new_host, room.by_tier, room.total, token,
        timedelta(seconds=lease_s),
    )  # fmt: skip
