"""Leases: work that one process does at a time, and the next one takes over when that one dies."""

from datetime import timedelta

from core.transaction import Transaction

#: The work of deleting what is old or belongs to nothing.
PRUNING = "pruning"

_TAKE = """
INSERT INTO leases (name, keeper, lease_until) VALUES ($1, $2, now() + $3::interval)
ON CONFLICT (name) DO UPDATE SET keeper = excluded.keeper, lease_until = excluded.lease_until
WHERE leases.keeper = excluded.keeper OR leases.lease_until < now()
RETURNING name
"""
_RELEASE = "DELETE FROM leases WHERE name = $1 AND keeper = $2"


async def take(connection: Transaction, name: str, keeper: str, for_s: float) -> bool:
    """Return whether the work `name` is the keeper's from now on, for so many seconds.

    A keeper that takes its own lease again prolongs it. False while another keeper's lease lasts.
    """
    return await connection.fetchval(_TAKE, name, keeper, timedelta(seconds=for_s)) is not None


async def release(connection: Transaction, name: str, keeper: str) -> None:
    """Release the work, so that the next keeper need not wait for the lease to end."""
    await connection.execute(_RELEASE, name, keeper)
