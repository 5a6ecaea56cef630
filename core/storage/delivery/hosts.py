"""Targets that an operator, or a breaker, has disabled: their webhooks wait. Table `targets`.

A breaker disables a target (`https://host:443`). An operator names a host, which stands for all
of its targets, until there are routes for targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.transaction import Transaction

# The event is written only if the state changes, so that disabling twice has one event.
_CHANGE = """
WITH changed AS (
    INSERT INTO targets (target, disabled_at, actor, reason)
    SELECT target, CASE WHEN $2 = 'disabled' THEN now() END, $3, $4
    FROM unnest($1::text[]) AS t (target) ORDER BY target
    ON CONFLICT (target) DO UPDATE SET
        disabled_at = excluded.disabled_at, actor = excluded.actor, reason = excluded.reason,
        changed_at = now()
    WHERE (targets.disabled_at IS NULL) <> (excluded.disabled_at IS NULL)
    RETURNING target
)
INSERT INTO target_events (target, event, actor, reason)
SELECT target, $2, $3, $4 FROM changed RETURNING id
"""
_DISABLED = """
SELECT target FROM targets WHERE $1 IN (target, host_of(target)) AND disabled_at IS NOT NULL
"""

# The lanes are read once: per host, a thousand disabled ones beside 20,000 lanes took minutes.
_LIST = """
WITH shown AS (
    SELECT target, disabled_at, actor, reason, changed_at FROM targets
    WHERE NOT $1 OR disabled_at IS NOT NULL ORDER BY changed_at DESC, target LIMIT 1000
), named AS (
    SELECT name, array_agg(DISTINCT target) AS targets FROM lanes
    CROSS JOIN LATERAL (VALUES (target), (host_of(target))) AS n (name)
    WHERE name IN (SELECT target FROM shown) GROUP BY name
)
SELECT s.target AS host, s.disabled_at, s.actor, s.reason, s.changed_at,
       (SELECT count(*) FROM (
            SELECT FROM deliveries d WHERE d.state = 'due' AND d.target = ANY(n.targets)
            LIMIT 1000) w) AS waiting
FROM shown s LEFT JOIN named n ON n.name = s.target
ORDER BY s.changed_at DESC, s.target
"""


@dataclass(frozen=True, slots=True)
class HostState:
    """A host or target that somebody disabled once.

    Attributes:
        host: a host's name, or a target: `https://host:443`.
        disabled_at: None: resumed.
        actor: who did the last change: an owner, `operator`, or `breaker`.
        waiting: webhooks on the schedule, counted to 1,000.
    """

    host: str
    disabled_at: datetime | None
    actor: str
    reason: str
    changed_at: datetime
    waiting: int


async def disable(tx: Transaction, host: str, *, actor: str, reason: str = "") -> bool:
    """Stop claiming this host's webhooks; return False if it was disabled already.

    What is in flight comes to its end. No attempt is charged for the wait.
    """
    return await tx.fetchval(_CHANGE, [host], "disabled", actor, reason) is not None


async def resume(tx: Transaction, host: str, *, actor: str, reason: str = "") -> bool:
    """Let a host's webhooks go on, those first that were due first; False where it was enabled."""
    disabled = [row["target"] for row in await tx.fetch(_DISABLED, host)]
    return await tx.fetchval(_CHANGE, disabled, "resumed", actor, reason) is not None


async def list_hosts(
    connection: Transaction, *, disabled_only: bool = False
) -> Sequence[HostState]:
    """Return the hosts that were ever disabled, the newest change first; at most 1,000."""
    return tuple(HostState(**dict(row)) for row in await connection.fetch(_LIST, disabled_only))
