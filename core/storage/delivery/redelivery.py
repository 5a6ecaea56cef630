"""Redelivery: people make webhooks due again (docs/decisions/0012).

A webhook that was not delivered keeps its id; a delivered one is sent as a new webhook of the next
round. A webhook in flight is not changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from core.storage.delivery import interventions
from core.transaction import Transaction
from schemas.callback import callback_id_of

MAX_LIMIT = 10_000

# Of each query only the newest round. Locked rows are being sent or redelivered at this moment.
_MATCHING = """
FROM deliveries d
WHERE d.state = ANY($1::text[])
  AND ($2::text IS NULL OR d.owner = $2)
  AND ($3::text IS NULL OR host_of(d.target) = $3)
  AND ($4::uuid IS NULL OR d.query_id = $4)
  AND ($5::timestamptz IS NULL OR coalesce(d.finished_at, d.created_at) >= $5)
  AND ($6::timestamptz IS NULL OR coalesce(d.finished_at, d.created_at) < $6)
  AND NOT EXISTS (SELECT FROM deliveries e WHERE e.query_id = d.query_id AND e.round > d.round)
"""
_COUNT = f"SELECT d.state, count(*) AS n {_MATCHING} GROUP BY d.state"
_SELECT = f"""
SELECT d.delivery_id, d.query_id, d.state, d.round {_MATCHING}
ORDER BY coalesce(d.finished_at, d.created_at), d.delivery_id LIMIT $7 FOR UPDATE SKIP LOCKED
"""


@dataclass(frozen=True, slots=True)
class RedeliveryChoice:
    """Which webhooks to send again; None: all.

    Attributes:
        states: of `dead` (given up), `delivered`, `due` (waiting for a retry: sent at once).
        owner: only this owner's.
        host: all of its targets.
        since: finished, or made, at or after.
        until: finished, or made, before.
    """

    states: Sequence[str] = ("dead",)
    owner: str | None = None
    host: str | None = None
    query_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def arguments(self) -> tuple[object, ...]:
        """Parameters of the statements."""
        return (
            list(self.states), self.owner, self.host, self.query_id, self.since, self.until,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Redelivered:
    """Webhook ids that are due now: `again` those that went on, `anew` fresh ones.

    Attributes:
        attempts: the number of the attempt that is next, by the webhook's id.
    """

    again: tuple[UUID, ...] = ()
    anew: tuple[UUID, ...] = ()
    attempts: Mapping[UUID, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many are due."""
        return len(self.again) + len(self.anew)


async def count(connection: Transaction, wanted: RedeliveryChoice) -> dict[str, int]:
    """Return how many webhooks match, by state; changes nothing."""
    rows = await connection.fetch(_COUNT, *wanted.arguments)
    return {row["state"]: row["n"] for row in rows}


async def redeliver(tx: Transaction, wanted: RedeliveryChoice, *, limit: int) -> Redelivered:
    """Make matching webhooks due at once, those first that ended first; at most `limit`."""
    rows = await tx.fetch(_SELECT, *wanted.arguments, min(limit, MAX_LIMIT))
    again = tuple(row["delivery_id"] for row in rows if row["state"] != "delivered")
    delivered = [row for row in rows if row["state"] == "delivered"]
    anew = tuple(callback_id_of(row["query_id"], row["round"] + 1) for row in delivered)
    attempts = await interventions.make_due_again(tx, again) if again else {}
    if anew:
        known = [row["delivery_id"] for row in delivered]
        await interventions.add_round(tx, dict(zip(known, anew, strict=True)))
    return Redelivered(again, anew, attempts | dict.fromkeys(anew, 1))
