"""Processes that say they are alive, without being there."""

from datetime import timedelta
from typing import Any

from core.storage.stream import heartbeats
from core.telemetry.vitals import Beat
from core.transaction import Transaction

NEEDED = ("tagging", "tagging_bulk", "query", "delivery")


def beat_of(role: str, instance: str = "one", **values: Any) -> Beat:
    """What a part says that has nothing to do."""
    said: dict[str, Any] = {
        "age_s": 100.0,
        "progressed_s": 1.0,
        "waiting": 0,
        "oldest_s": None,
        "still_s": 0.0,
        "done_per_s": 0.0,
        "about": {},
    }
    return Beat(role, instance, **(said | values))


async def all_roles_beat(connection: Transaction, *others: Beat) -> None:
    """Have every role that an archive needs say that it is well; `others` instead where given."""
    told = {role: beat_of(role) for role in NEEDED} | {one.role: one for one in others}
    await heartbeats.beat(connection, "", list(told.values()))


async def fall_silent(connection: Transaction, role: str, since: timedelta) -> None:
    """Have a role not be heard of for so long."""
    await connection.execute(
        "UPDATE heartbeats SET seen_at = seen_at - $2::interval WHERE role = $1", role, since
    )
