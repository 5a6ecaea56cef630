"""Deletion of queries with their webhooks; each leaves a tombstone with its id and time."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.storage.delivery import interventions
from core.storage.queries import queries
from core.storage.stream import changes
from core.transaction import Transaction

# The tombstone counts as answered, so that it is not answered; the text is erased.
_DELETE = """
UPDATE queries SET status = 'answered', deleted_at = now(), owner = NULL, text = '',
       callback_url = '', options = '{}', fingerprint = NULL, answer = NULL, answered_at = NULL
WHERE query_id = $1
RETURNING deleted_at
"""
# Against `schedule` of webhooks (core/storage/delivery/deliveries.py), which holds the row as a
# foreign key would: an answer on its way is either on the schedule already, or finds the tombstone.
_HOLD = """
SELECT true FROM queries
WHERE query_id = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR owner = $2) FOR UPDATE
"""


@dataclass(frozen=True, slots=True)
class Deleted:
    """A query that is no more.

    Attributes:
        withdrawn: webhooks of it that waited and that no delivery process had claimed.
    """

    deleted_at: datetime
    withdrawn: int


async def delete(tx: Transaction, query_id: UUID, *, owner: str | None) -> Deleted | None:
    """Delete a query with its webhooks; None where the owner, if one is given, has no such one.

    It is not answered any more, whatever of it lies on a topic. A webhook that a delivery process
    has claimed may still be sent, within some seconds, and nothing is noted of it.
    """
    if not await tx.fetchval(_HOLD, query_id, owner):
        return None
    await queries.unpark(tx, [query_id])
    withdrawn, gone = 0, 1
    # A redelivery may add a webhook while we wait for the one that it holds: look once more.
    while gone:
        gone, waited = await interventions.withdraw(tx, query_id)
        withdrawn += waited
    await changes.note(tx, "query", [query_id])
    return Deleted(await tx.fetchval(_DELETE, query_id), withdrawn)
