"""Targets (`https://host:443`) that a person or a breaker has disabled: their webhooks wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.transaction import Transaction

# The event is written only if something changes, so that disabling twice has one event. A person's
# new reason is a change; that of a breaker is none, where the target is held already.
_DISABLE = """
WITH changed AS (
    INSERT INTO targets (target, disabled_at, actor, reason) VALUES ($1, now(), $2, $3)
    ON CONFLICT (target) DO UPDATE SET
        disabled_at = coalesce(targets.disabled_at, now()), actor = excluded.actor,
        reason = excluded.reason, changed_at = now()
    WHERE targets.disabled_at IS NULL
       OR excluded.actor <> 'breaker' AND excluded.reason NOT IN ('', targets.reason)
    RETURNING target
)
INSERT INTO target_events (target, event, actor, reason)
SELECT target, 'disabled', $2, $3 FROM changed RETURNING id
"""
_RESUME = """
WITH changed AS (
    UPDATE targets SET disabled_at = NULL, actor = $2, reason = $3, changed_at = now()
    WHERE target = $1 AND (disabled_at IS NOT NULL OR $3 NOT IN ('', reason)) RETURNING target
)
INSERT INTO target_events (target, event, actor, reason)
SELECT target, 'resumed', $2, $3 FROM changed RETURNING id
"""
_LIST = """
SELECT s.target, s.disabled_at, s.actor, s.reason, s.changed_at,
       (SELECT count(*) FROM (
            SELECT FROM deliveries d WHERE d.state = 'due' AND d.target = s.target
            LIMIT 1000) w) AS waiting
FROM (SELECT * FROM targets WHERE NOT $1 OR disabled_at IS NOT NULL
      ORDER BY changed_at DESC, target LIMIT 1000) s
ORDER BY s.changed_at DESC, s.target
"""


@dataclass(frozen=True, slots=True)
class TargetState:
    """A target that somebody disabled once.

    Attributes:
        target: `https://host:443`.
        disabled_at: None: resumed.
        actor: who did the last change: an owner, `operator`, or `breaker`.
        waiting: webhooks on the schedule, counted to 1,000.
    """

    target: str
    disabled_at: datetime | None
    actor: str
    reason: str
    changed_at: datetime
    waiting: int


async def disable(tx: Transaction, target: str, *, actor: str, reason: str = "") -> bool:
    """Stop claiming this target's webhooks; return False if nothing changed.

    Who disables it once more with another reason is noted with it; since when it is disabled stays.
    What is in flight comes to its end. No attempt is charged for the wait.
    """
    return await tx.fetchval(_DISABLE, target, actor, reason) is not None


async def resume(tx: Transaction, target: str, *, actor: str, reason: str = "") -> bool:
    """Let a target's webhooks go on, those first that were due first; False: nothing changed.

    Of one that was resumed before another reason is kept; of one that never was disabled nothing.
    """
    return await tx.fetchval(_RESUME, target, actor, reason) is not None


async def list_targets(
    connection: Transaction, *, disabled_only: bool = False
) -> Sequence[TargetState]:
    """Return the targets that were ever disabled, the newest change first; at most 1,000."""
    return tuple(TargetState(**dict(row)) for row in await connection.fetch(_LIST, disabled_only))
