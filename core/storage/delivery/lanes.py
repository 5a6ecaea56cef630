"""Claiming: due webhooks are leased by the lanes of their targets."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from core.storage.delivery.deliveries import LEASE, Leased
from core.transaction import Transaction

# Which lanes: of the targets we know, the first of each tier; of others, the first that are due. A
# lane yields a webhook at least, so that more lanes than the tier has room for are not looked at,
# whatever the number of targets and of their webhooks. First tries come before retries. Each tier
# has its own bound, so that no number of bad targets takes the workers of the good. `NOT IN`, since
# that is hashed whatever the planner believes: the parameters are up to 10,000 targets, and a
# nested loop over them took a minute. What is left of each lane is noted, but no lock is waited
# for: a `due_at` that stays too early is put right by the next claim (see table `lanes`).
# `state || ''` keeps `locked` off the index of what is due: where statistics say that nothing is,
# as after every quiet hour, the whole backlog was walked for each webhook (7 ms for 3,000 of them).
_CHOOSE = """
WITH known AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::int4[], $3::int4[]) AS k (target, room, tier)
), disabled AS MATERIALIZED (
    SELECT target FROM targets WHERE disabled_at IS NOT NULL
), named AS (
    SELECT l.*, k.room, k.tier,
           row_number() OVER (PARTITION BY k.tier ORDER BY l.again, l.due_at) AS place
    FROM known k JOIN lanes l USING (target)
    WHERE k.room > 0 AND l.due_at <= now()
      AND l.target NOT IN (SELECT target FROM disabled)
      AND coalesce(host_of(l.target), '') NOT IN (SELECT target FROM disabled)
), heads AS (
    SELECT target, again, due_at, touched, room, tier FROM named
    WHERE place <= ($5::int4[])[tier + 1]
    UNION ALL
    SELECT u.target, u.again, u.due_at, u.touched, $4, 1
    FROM (VALUES (false), (true)) AS v (again) CROSS JOIN LATERAL (
        SELECT * FROM lanes l
        WHERE l.again = v.again AND l.due_at <= now()
          AND l.target NOT IN (SELECT target FROM known)
          AND l.target NOT IN (SELECT target FROM disabled)
          AND coalesce(host_of(l.target), '') NOT IN (SELECT target FROM disabled)
        ORDER BY l.due_at LIMIT ($5::int4[])[2]
    ) u
), found AS (
    SELECT due.*, h.again, h.room, h.tier,
           row_number() OVER (PARTITION BY h.target ORDER BY h.again, due.next_at) AS of_target
    FROM heads h CROSS JOIN LATERAL (
        SELECT d.delivery_id, d.next_at FROM deliveries d
        WHERE d.state = 'due' AND d.target = h.target AND (d.attempt > 0) = h.again
          AND d.next_at <= now()
        ORDER BY d.next_at LIMIT h.room
    ) due
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY tier ORDER BY again, next_at) AS place
    FROM found WHERE of_target <= room
), wanted AS (
    SELECT delivery_id FROM placed WHERE place <= ($5::int4[])[tier + 1]
    ORDER BY again, next_at LIMIT $6
), locked AS MATERIALIZED (
    SELECT delivery_id FROM deliveries
    WHERE delivery_id IN (SELECT delivery_id FROM wanted) AND state || '' = 'due'
    FOR UPDATE SKIP LOCKED
), left_over AS (
    SELECT h.target, h.again, h.touched, (
        SELECT d.next_at FROM deliveries d
        WHERE d.state = 'due' AND d.target = h.target AND (d.attempt > 0) = h.again
          AND d.delivery_id NOT IN (SELECT delivery_id FROM locked)
        ORDER BY d.next_at LIMIT 1) AS due_at
    FROM heads h
), changed AS MATERIALIZED (
    SELECT l.target, l.again, o.due_at FROM lanes l JOIN left_over o USING (target, again)
    WHERE l.touched = o.touched AND l.due_at IS DISTINCT FROM o.due_at
    FOR UPDATE OF l SKIP LOCKED
), emptied AS (
    DELETE FROM lanes l USING changed c
    WHERE l.target = c.target AND l.again = c.again AND c.due_at IS NULL
), raised AS (
    UPDATE lanes l SET due_at = c.due_at FROM changed c
    WHERE l.target = c.target AND l.again = c.again AND c.due_at IS NOT NULL
)
"""
CLAIM = _CHOOSE + LEASE


@dataclass(frozen=True, slots=True)
class Room:
    """The bounds of a claim.

    Attributes:
        targets: those with a room of their own; `rooms` and `tiers` (0 to 2) belong to them.
        new_target: room of each target that is not named; these are of tier 1.
        by_tier: most of each tier.
        total: most of all.
    """

    targets: Sequence[str] = ()
    rooms: Sequence[int] = ()
    tiers: Sequence[int] = ()
    new_target: int = 1
    by_tier: Sequence[int] = (100, 100, 100)
    total: int = 100


async def claim(
    connection: Transaction, room: Room, *, token: UUID, lease_s: float
) -> list[Leased]:
    """Lease due webhooks of targets that are not disabled, within the room; one statement.

    The attempt is counted here, before anything is sent, so that a webhook that crashes the process
    is not tried for ever.
    """
    if room.total <= 0:
        return []
    deadline = time.monotonic() + lease_s  # before PostgreSQL begins to count
    rows = await connection.fetch(CLAIM, *arguments(room, token, lease_s))
    return [Leased(**dict(row), token=token, deadline=deadline) for row in rows]


def arguments(room: Room, token: UUID, lease_s: float) -> tuple[object, ...]:
    """Parameters of `CLAIM`."""
    return (
        room.targets, room.rooms, room.tiers, room.new_target, room.by_tier, room.total, token,
        timedelta(seconds=lease_s),
    )  # fmt: skip
