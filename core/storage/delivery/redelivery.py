"""Redelivery: people make webhooks due again (docs/decisions/0012).

A webhook that was not delivered keeps its id; a delivered one is sent as a new webhook of the next
round. A webhook in flight is not changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from core.storage.delivery import interventions
from core.transaction import Transaction
from schemas.callback import callback_id_of

MAX_LIMIT = 10_000

#: The states of webhooks that are not under way, as people know them (`query_pages.state_of`).
State = Literal["waiting", "will_retry", "given_up", "stopped", "delivered"]
STATES: tuple[State, ...] = get_args(State)
_KEPT_AS: Mapping[State, str] = {
    "waiting": "due",
    "will_retry": "due",
    "given_up": "dead",
    "stopped": "dead",
    "delivered": "delivered",
}
_STATE = """CASE WHEN d.state = 'due' AND d.attempt = 0 THEN 'waiting'
     WHEN d.state = 'due' THEN 'will_retry'
     WHEN d.state = 'dead' AND d.reason = 'stopped' THEN 'stopped'
     WHEN d.state = 'dead' THEN 'given_up' ELSE d.state END"""
# Of each query only the newest round. Locked rows are being sent or redelivered at this moment.
# `$1` is what the indexes know, `$2` what was asked for.
_MATCHING = f"""
FROM deliveries d
WHERE d.state = ANY($1::text[]) AND {_STATE} = ANY($2::text[])
  AND ($3::text IS NULL OR d.owner = $3)
  AND ($4::text IS NULL OR host_of(d.target) = $4)
  AND ($5::uuid IS NULL OR d.query_id = $5)
  AND ($6::timestamptz IS NULL OR coalesce(d.finished_at, d.created_at) >= $6)
  AND ($7::timestamptz IS NULL OR coalesce(d.finished_at, d.created_at) < $7)
  AND NOT EXISTS (SELECT FROM deliveries e WHERE e.query_id = d.query_id AND e.round > d.round)
"""
_COUNT = f"SELECT {_STATE} AS state, count(*) AS n {_MATCHING} GROUP BY 1"
_SELECT = f"""
SELECT d.delivery_id, d.query_id, d.state, d.round {_MATCHING}
ORDER BY coalesce(d.finished_at, d.created_at), d.delivery_id LIMIT $8 FOR UPDATE SKIP LOCKED
"""


@dataclass(frozen=True, slots=True)
class RedeliveryChoice:
    """Which webhooks to send again; None: all.

    Attributes:
        states: those in them; what waits is sent at once.
        owner: only this owner's.
        host: all of its targets.
        since: finished, or made, at or after.
        until: finished, or made, before.
    """

    states: Sequence[State] = ("given_up",)
    owner: str | None = None
    host: str | None = None
    query_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def arguments(self) -> tuple[object, ...]:
        """Parameters of the statements."""
        return (
            [_KEPT_AS[state] for state in self.states], list(self.states),
            self.owner, self.host, self.query_id, self.since, self.until,
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
