"""Callback hosts that an operator, or a breaker, has disabled: their webhooks wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.transaction import Transaction

# The event only where the state changes: to disable twice is to disable.
_CHANGE = """
WITH changed AS (
    INSERT INTO hosts (host, disabled_at, actor, reason)
    VALUES ($1, CASE WHEN $2 = 'disabled' THEN now() END, $3, $4)
    ON CONFLICT (host) DO UPDATE SET
        disabled_at = excluded.disabled_at, actor = excluded.actor, reason = excluded.reason,
        changed_at = now()
    WHERE (hosts.disabled_at IS NULL) <> (excluded.disabled_at IS NULL)
    RETURNING host
)
INSERT INTO host_events (host, event, actor, reason)
SELECT host, $2, $3, $4 FROM changed RETURNING id
"""
_RESUMED_BEFORE = "SELECT EXISTS (SELECT FROM hosts WHERE host = $1 AND disabled_at IS NOT NULL)"

_LIST = """
SELECT h.host, h.disabled_at, h.actor, h.reason, h.changed_at,
       (SELECT count(*) FROM (SELECT FROM deliveries d
                              WHERE d.state = 'due' AND d.host = h.host LIMIT 1000) w) AS waiting
FROM hosts h WHERE NOT $1 OR h.disabled_at IS NOT NULL
ORDER BY h.changed_at DESC, h.host LIMIT 1000
"""


@dataclass(frozen=True, slots=True)
class HostState:
    """A host that somebody disabled once.

    Attributes:
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
    """Claim none of this host's webhooks any more; False where that was so.

    What is in flight comes to its end. No attempt is charged for the wait.
    """
    return await tx.fetchval(_CHANGE, host, "disabled", actor, reason) is not None


async def resume(tx: Transaction, host: str, *, actor: str, reason: str = "") -> bool:
    """Let a host's webhooks go on, those first that were due first; False where it was enabled."""
    if not await tx.fetchval(_RESUMED_BEFORE, host):
        return False
    return await tx.fetchval(_CHANGE, host, "resumed", actor, reason) is not None


async def list_hosts(
    connection: Transaction, *, disabled_only: bool = False
) -> Sequence[HostState]:
    """Return the hosts that were ever disabled, the newest change first; at most 1,000."""
    return tuple(HostState(**dict(row)) for row in await connection.fetch(_LIST, disabled_only))
