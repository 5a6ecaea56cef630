"""Callback targets page by page, with how they are: by name, so that a page costs what it shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.transaction import Transaction

State = Literal["open", "half_open", "broken", "disabled"]

#: Names of one look: those of a state, or with a text in them, may be few.
BUDGET = 2000
# Where webhooks wait, were sent within a day (then the pruner comes), or that were ever disabled.
_NAMES = """
SELECT target FROM (
    (SELECT DISTINCT target FROM lanes WHERE target > $1 AND due_at < 'infinity'
     ORDER BY target LIMIT $2)
    UNION
    (SELECT DISTINCT target FROM target_health WHERE target > $1 ORDER BY target LIMIT $2)
    UNION
    (SELECT target FROM targets WHERE target > $1 ORDER BY target LIMIT $2)
) n ORDER BY target LIMIT $2
"""
# In flight and cap are sums over the processes that have said so within ten minutes; a breaker
# counts as closed where one process has it closed.
_OF = """
SELECT n.target, t.disabled_at, t.actor, coalesce(t.reason, '') AS reason, t.changed_at,
       (SELECT count(*) FROM (
            SELECT FROM deliveries d WHERE d.state = 'due' AND d.target = n.target LIMIT 1000
        ) w) AS waiting,
       extract(epoch FROM now() - (SELECT min(due_at) FROM lanes l
                                   WHERE l.target = n.target AND due_at <= now()))::float8
           AS oldest_waiting_s,
       CASE WHEN t.disabled_at IS NOT NULL THEN 'disabled' WHEN h.is_broken THEN 'broken'
            WHEN h.is_half_open THEN 'half_open' ELSE 'open' END AS state,
       coalesce(h.in_flight, 0) AS in_flight, h.cap, h.last_ok_at, h.last_error, h.last_error_at,
       h.p99_ms
FROM unnest($1::text[]) AS n (target)
LEFT JOIN targets t USING (target)
LEFT JOIN LATERAL (
    SELECT sum(in_flight) FILTER (WHERE is_fresh) AS in_flight,
           sum(cap) FILTER (WHERE is_fresh) AS cap,
           bool_and(coalesce(opened_until > now(), false)) FILTER (WHERE is_fresh) AS is_broken,
           bool_and(is_half_open) FILTER (WHERE is_fresh) AS is_half_open,
           max(last_ok_at) AS last_ok_at, max(last_error_at) AS last_error_at,
           max(p99_ms) AS p99_ms,
           (array_agg(last_error ORDER BY last_error_at DESC NULLS LAST))[1] AS last_error
    FROM (SELECT *, updated_at > now() - interval '10 minutes' AS is_fresh
          FROM target_health WHERE target = n.target) k
) h ON true
WHERE ($2::text IS NULL OR position($2 IN n.target) > 0)
ORDER BY n.target
"""


@dataclass(frozen=True, slots=True)
class ListedTarget:
    """A target, and how it is.

    Attributes:
        disabled_at: None: it is not, or was never.
        actor: who did the last change; None: nobody ever did.
        waiting: webhooks on the schedule, counted to 1,000.
        oldest_waiting_s: since when the oldest is due; None: none is.
        cap: attempts in flight at most, of all processes; None: none has tried it lately.
        p99_ms: of the last attempts.
    """

    target: str
    disabled_at: datetime | None
    actor: str | None
    reason: str
    changed_at: datetime | None
    waiting: int
    oldest_waiting_s: float | None
    state: State
    in_flight: int
    cap: int | None
    last_ok_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    p99_ms: int | None


@dataclass(frozen=True, slots=True)
class ListedTargets:
    """A page; `next` is the name behind which the next one begins, None: there is none."""

    targets: Sequence[ListedTarget]
    next: str | None


async def page(
    connection: Transaction,
    *,
    after: str = "",
    text: str | None = None,
    state: State | None = None,
    limit: int,
) -> ListedTargets:
    """Return at most `limit` targets by name; fewer, even none, may come before the last page.

    Args:
        after: `next` of the page before.
        text: is in the target's name.
        state: only those that are so.
    """
    size = limit + 1 if text is None and state is None else BUDGET
    names = [row["target"] for row in await connection.fetch(_NAMES, after, size)]
    found = await of(connection, names, text)
    matching = [one for one in found if state in {None, one.state}]
    if len(matching) > limit:
        return ListedTargets(matching[:limit], matching[limit - 1].target)
    return ListedTargets(matching, names[-1] if len(names) == size else None)


async def of(
    connection: Transaction, names: Sequence[str], text: str | None = None
) -> Sequence[ListedTarget]:
    """Return how these targets are, by name; those of them that have a text in their name."""
    rows = await connection.fetch(_OF, list(names), text)
    return [ListedTarget(**dict(row)) for row in rows]
