"""What people do to webhooks: ask for an attempt, stop them, remove their address or their query.

            asked for again          asked for again: a new one, next round
     due <------------------ dead    delivered ----> due
      |                       ^
      +-- stopped, removed ---+

With `deliveries`, where their own life is, this is all that writes table `deliveries`. An attempt
under way comes to its end.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from core.storage.delivery.deliveries import OPEN_LANES
from core.storage.stream.changes import noting_queries
from core.transaction import Transaction

# By the URL alone: a look at what is due, once per removed endpoint, and no need to know its lane.
_GIVE_UP = f"""
WITH changed AS (
    UPDATE deliveries SET state = 'dead', reason = $3, finished_at = now()
    WHERE state = 'due' AND owner = $1 AND url = $2 RETURNING query_id
), told AS ({noting_queries()})
SELECT count(*) FROM changed
"""  # noqa: S608 - a constant
# Of one that waits for a retry the schedule stays what it is: the attempt comes beside it, and is
# counted as if it had been before. One whose first try waits goes as it would have.
_AGAIN = f"""
WITH changed AS (
    UPDATE deliveries SET state = 'due', next_at = now(), reason = NULL, finished_at = NULL,
           waits_for = NULL, stopped_by = NULL, is_manual = state = 'dead' OR attempt > 0,
           planned_at = CASE WHEN state = 'due'
                                  AND (planned_at IS NOT NULL OR attempt > attempts_before)
                             THEN coalesce(planned_at, next_at) END,
           asked_at = CASE WHEN state = 'dead' THEN now() ELSE asked_at END,
           attempts_before = CASE WHEN state = 'dead' THEN attempt
                                  WHEN attempt > attempts_before AND planned_at IS NULL
                                  THEN attempts_before + 1 ELSE attempts_before END
    WHERE delivery_id = ANY($1::uuid[]) AND state IN ('due', 'dead')
    RETURNING delivery_id, query_id, target, sender, line, attempt, next_at, state
), opened AS ({OPEN_LANES}), told AS ({noting_queries()})
SELECT delivery_id, attempt + 1 AS attempt FROM changed
"""  # noqa: S608 - a constant
# Two requests at once for a delivered answer give one new webhook, not two.
_ANEW = f"""
WITH changed AS (
    INSERT INTO deliveries (delivery_id, query_id, owner, target, url, event, state, round,
                            is_manual)
    SELECT u.fresh, d.query_id, d.owner, d.target, d.url, d.event, 'due', d.round + 1, true
    FROM unnest($1::uuid[], $2::uuid[]) AS u (known, fresh)
    JOIN deliveries d ON d.delivery_id = u.known
    ON CONFLICT (delivery_id) DO NOTHING
    RETURNING query_id, target, sender, line, attempt, next_at, state
), told AS ({noting_queries()})
{OPEN_LANES}
"""  # noqa: S608 - a constant
# One under way comes to its end, and none follows it; the others end now.
_STOP = f"""
WITH changed AS (
    UPDATE deliveries SET stopped_by = $2,
           state = CASE WHEN state = 'due' THEN 'dead' ELSE state END,
           reason = CASE WHEN state = 'due' THEN 'stopped' ELSE reason END,
           waits_for = CASE WHEN state <> 'due' THEN waits_for END,
           finished_at = CASE WHEN state = 'due' THEN now() END
    WHERE query_id = $1 AND state IN ('due', 'leased') RETURNING query_id, state
), told AS ({noting_queries()})
SELECT state FROM changed
"""  # noqa: S608 - a constant
_WITHDRAW = """
WITH gone AS (DELETE FROM deliveries WHERE query_id = $1 RETURNING state)
SELECT count(*) AS rows, count(*) FILTER (WHERE state = 'due') AS waiting FROM gone
"""


async def give_up(tx: Transaction, *, owner: str, url: str, reason: str) -> int:
    """Stop trying the webhooks to a URL that wait; return how many."""
    return int(await tx.fetchval(_GIVE_UP, owner, url, reason))


async def make_due_again(tx: Transaction, delivery_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Make webhooks due now that wait or were given up; return the numbers of their attempts.

    What was given up begins its schedule anew; of what waits it goes on unchanged behind this.
    """
    rows = await tx.fetch(_AGAIN, list(delivery_ids))
    return {row["delivery_id"]: row["attempt"] for row in rows}


async def stop(tx: Transaction, query_id: UUID, *, by: str) -> dict[str, int]:
    """End what is left of a query's webhooks.

    Returns:
        How many were ended (`dead`), and how many are under way (`leased`): none follows these.
    """
    return dict(Counter(row["state"] for row in await tx.fetch(_STOP, query_id, by)))


async def add_round(tx: Transaction, anew: Mapping[UUID, UUID]) -> None:
    """Put delivered webhooks on the schedule once more, as new ones of the next round.

    Args:
        anew: by the id of the delivered one, the id of the new one.
    """
    await tx.execute(_ANEW, list(anew), list(anew.values()))


async def withdraw(tx: Transaction, query_id: UUID) -> tuple[int, int]:
    """Delete a query's webhooks; return how many there were, and how many of them waited."""
    gone = await tx.fetchrow(_WITHDRAW, query_id)
    return (0, 0) if gone is None else (gone["rows"], gone["waiting"])
