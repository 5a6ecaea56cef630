"""Lanes: due webhooks are leased by the lanes of their targets, in which senders take turns."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from core.storage.delivery.deliveries import LEASE, OPEN_LANES, Leased
from core.transaction import Transaction

# Which lanes: of the targets we know, those with room; of others, the first that are due. A row of
# `lanes` yields a webhook at least, so that more of them than there is room for are not looked at,
# whatever the number of targets and of their webhooks. Each tier has its own bound, so that no
# number of bad targets takes the workers of the good. `NOT IN`, since that is hashed whatever the
# planner believes: the parameters are up to 10,000 targets, and a nested loop over them took a
# minute.
#
# Whose turn: at each target the sender with the fewest attempts in flight there, of equals the one
# who was served longest ago; of his lines the one that was; of its webhooks the first try before
# the retry. Between targets first tries come before retries;
# at one target they do not, or a stream of one sender's dead first tries would keep another's
# retry waiting, for up to five minutes each behind a breaker (docs/decisions/0023).
_TURNS = """
WITH known AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::int4[], $3::int4[], $4::int4[])
                  AS k (target, room, tier, share)
), flying AS MATERIALIZED (
    SELECT * FROM unnest($5::text[], $6::text[], $7::int4[]) AS f (target, sender, flights)
), disabled AS MATERIALIZED (
    SELECT target FROM targets WHERE disabled_at IS NOT NULL
), opened AS (
    SELECT l.*, k.room, k.tier, k.share, coalesce(f.flights, 0) AS flights
    FROM known k JOIN lanes l USING (target) LEFT JOIN flying f USING (target, sender)
    WHERE k.room > 0 AND l.due_at <= now() AND coalesce(f.flights, 0) < k.share
      AND l.target NOT IN (SELECT target FROM disabled)
    UNION ALL
    SELECT u.*, $8, 1, $8, 0
    FROM (VALUES (false), (true)) AS v (again) CROSS JOIN LATERAL (
        SELECT * FROM lanes l
        WHERE l.again = v.again AND l.due_at <= now()
          AND l.target NOT IN (SELECT target FROM known)
          AND l.target NOT IN (SELECT target FROM disabled)
        ORDER BY l.due_at LIMIT ($9::int4[])[2]
    ) u
), served AS MATERIALIZED (
    SELECT l.target, l.sender, l.line, max(l.served_at) AS line_at, min(l.due_at) AS line_due,
           max(max(l.served_at)) OVER w AS sender_at, min(min(l.due_at)) OVER w AS sender_due
    FROM (SELECT DISTINCT target, sender FROM opened) o JOIN lanes l USING (target, sender)
    GROUP BY 1, 2, 3 WINDOW w AS (PARTITION BY l.target, l.sender)
), in_turn AS (
    SELECT *, dense_rank() OVER (PARTITION BY target, sender
                                 ORDER BY line_at NULLS FIRST, line_due, line) AS turn
    FROM opened JOIN served USING (target, sender, line)
), with_room AS (
    SELECT *, dense_rank() OVER (PARTITION BY target ORDER BY
                  flights + turn, sender_at NULLS FIRST, sender_due, sender) AS number
    FROM in_turn
), heads AS (
    SELECT * FROM (
        SELECT *, row_number() OVER (PARTITION BY tier ORDER BY again, due_at) AS place,
               room - max(turn) OVER (PARTITION BY target, sender) + 1 AS most
        FROM with_room WHERE number <= room
    ) w WHERE place <= ($9::int4[])[tier + 1]
)
"""
# Of these lanes the webhooks, in the same turns: of a line no more than there is room for when the
# sender's other lines yield one each.
#
# What is left of each lane is noted, but no lock is waited for: a `due_at` that stays too early is
# put right by the next claim (see table `lanes`). `state || ''` keeps `locked` off the index of
# what is due: where statistics say that nothing is, as after every quiet hour, the whole backlog
# was walked for each webhook (7 ms for 3,000 of them).
_CHOOSE = f"""
{_TURNS}
, found AS (
    SELECT due.*, h.target, h.sender, h.line, h.again, h.room, h.tier, h.share, h.flights, h.turn,
           h.sender_at, h.sender_due, row_number() OVER (PARTITION BY h.target, h.sender, h.line
                              ORDER BY h.again, due.next_at) AS of_line
    FROM heads h CROSS JOIN LATERAL (
        SELECT d.delivery_id, d.next_at FROM deliveries d
        WHERE d.state = 'due' AND d.target = h.target AND d.sender = h.sender
          AND d.line = h.line AND (d.attempt > 0) = h.again AND d.next_at <= now()
        ORDER BY d.next_at LIMIT h.most
    ) due
), by_sender AS (
    SELECT *, row_number() OVER (PARTITION BY target, sender
                                 ORDER BY of_line, turn) AS of_sender
    FROM found
), by_target AS (
    SELECT *, row_number() OVER (PARTITION BY target ORDER BY
                  flights + of_sender, sender_at NULLS FIRST, sender_due, sender) AS of_target
    FROM by_sender WHERE of_sender <= share - flights
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY tier ORDER BY again, next_at) AS place
    FROM by_target WHERE of_target <= room
), wanted AS (
    SELECT delivery_id FROM placed WHERE place <= ($9::int4[])[tier + 1]
    ORDER BY again, next_at LIMIT $10
), locked AS MATERIALIZED (
    SELECT delivery_id, target, sender, line, attempt > 0 AS again FROM deliveries
    WHERE delivery_id IN (SELECT delivery_id FROM wanted) AND state || '' = 'due'
    FOR UPDATE SKIP LOCKED
), left_over AS MATERIALIZED (
    SELECT h.target, h.sender, h.line, h.again, h.touched, (
        SELECT d.next_at FROM deliveries d
        WHERE d.state = 'due' AND d.target = h.target AND d.sender = h.sender
          AND d.line = h.line AND (d.attempt > 0) = h.again
          AND d.delivery_id NOT IN (SELECT delivery_id FROM locked)
        ORDER BY d.next_at LIMIT 1) AS due_at,
        (h.target, h.sender, h.line, h.again) IN (
            SELECT target, sender, line, again FROM locked) AS is_served
    FROM heads h
), changed AS MATERIALIZED (
    SELECT l.target, l.sender, l.line, l.again, o.touched, o.is_served,
           coalesce(o.due_at, 'infinity') AS due_at
    FROM lanes l JOIN left_over o USING (target, sender, line, again)
    WHERE o.is_served OR l.touched = o.touched AND l.due_at <> coalesce(o.due_at, 'infinity')
    FOR UPDATE OF l SKIP LOCKED
), raised AS (
    UPDATE lanes l
    SET due_at = CASE WHEN l.touched = c.touched THEN c.due_at ELSE l.due_at END,
        served_at = CASE WHEN c.is_served THEN now() ELSE l.served_at END
    FROM changed c
    WHERE (l.target, l.sender, l.line, l.again) = (c.target, c.sender, c.line, c.again)
)
"""  # noqa: S608 - constants
CLAIM = _CHOOSE + LEASE
# What SQL typed by hand made due, or a restore brought: no statement of ours leaves one unseen.
# Lanes that are right are not written: all who make webhooks due would wait for 100,000 of them.
_REOPEN = f"""
WITH first AS (
    SELECT target, sender, line, attempt > 0 AS again, min(next_at) AS next_at
    FROM deliveries WHERE state = 'due' GROUP BY 1, 2, 3, 4
), changed AS (
    SELECT target, sender, line, again::int4 AS attempt, next_at, 'due' AS state
    FROM first f LEFT JOIN lanes l USING (target, sender, line, again)
    WHERE l.due_at IS NULL OR l.due_at > f.next_at
)
{OPEN_LANES}
"""  # noqa: S608 - a constant
# Rows of lanes that have nothing left, once it does not matter any more whose turn it was.
_FORGET = """
DELETE FROM lanes WHERE due_at = 'infinity'
  AND coalesce(served_at, '-infinity') < now() - interval '10 minutes'
"""


@dataclass(frozen=True, slots=True)
class Room:
    """The bounds of a claim.

    Attributes:
        targets: those with a room of their own; `rooms` and `tiers` (0 to 2) belong to them.
        new_target: room of each target that is not named; these are of tier 1.
        by_tier: most of each tier.
        total: most of all.
        shares: of each of the targets, the most attempts in flight of one sender; without them the
            room is for anybody.
        flights: attempts in flight by target and sender.
    """

    targets: Sequence[str] = ()
    rooms: Sequence[int] = ()
    tiers: Sequence[int] = ()
    new_target: int = 1
    by_tier: Sequence[int] = (100, 100, 100)
    total: int = 100
    shares: Sequence[int] = ()
    flights: Mapping[tuple[str, str], int] = field(default_factory=dict)


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
        room.targets, room.rooms, room.tiers, room.shares or room.rooms,
        [target for target, _ in room.flights], [sender for _, sender in room.flights],
        list(room.flights.values()), room.new_target, room.by_tier, room.total, token,
        timedelta(seconds=lease_s),
    )  # fmt: skip


async def reopen_lanes(tx: Transaction) -> None:
    """Open the lanes of all webhooks that are due, also of those that others wrote."""
    await tx.execute(_REOPEN)
    await tx.execute(_FORGET)
