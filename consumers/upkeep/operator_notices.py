"""Operator events: what happens to the archive itself becomes webhooks, in the lanes of all others.

A chore, so one process does it at a time: what happened is found in the tables that say so, noted,
and put on the schedule in one transaction. A death in between leaves neither.
"""

from dataclasses import dataclass

import structlog

from core.egress.urls import lane_of
from core.storage.delivery import deliveries, operator_events
from core.transaction import Database

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OperatorNotices:
    """Tells registered endpoints what happens."""

    database: Database

    async def step(self) -> bool:
        """Look once; return False: what happens next is for the next look.

        Raises:
            TransientError: PostgreSQL is away.
        """
        async with self.database.transaction() as tx:
            listeners = await operator_events.listeners(tx)
            happened = await operator_events.note(tx)
            webhooks = [
                (notice.webhook_id, lane_of(notice.url), notice)
                for one in happened
                for notice in (one.notice(each) for each in listeners if one.at >= each.created_at)
            ]
            await deliveries.schedule(tx, webhooks)
        for one in happened:
            log.info(
                "operator_event", type=one.type.value, id=str(one.event_id), **_about(one.data)
            )
        return False


def _about(data: dict[str, object]) -> dict[str, object]:
    """Return what a line of the log says of an event, under names that no line has already."""
    named = ("target", "job_id", "topic", "partition", "stage")
    return {name: data[name] for name in named if data.get(name) is not None}
