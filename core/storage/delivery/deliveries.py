"""The life of a webhook; what people do to it stands in `interventions`. No others write the table.

            claim                2xx
    due ----------> leased ----------> delivered ----> (asked for again: a new one, next round)
     ^                |
     |  tried, not    |  schedule at its end, refused for good, endpoint removed
     +--- delivered --+----------> dead
     |                               |
     +------- asked for again -------+

A person may ask for an attempt now, or stop what is left of them.

`due` waits for `next_at` in its target's lane; `leased` is one worker's until `lease_until`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from core.storage.stream.changes import noting_queries
from core.transaction import Transaction
from schemas.callback import CallbackRequested
from schemas.operator_event import OperatorNotice

MAX_BODY_BYTES = 16 * 1024  # of an answer, as a constraint of `attempts` has it
#: Ends every statement that makes webhooks due, over its rows: `changed`. In order, so that two who
# do so for the same targets do not come to a deadlock.
OPEN_LANES = """
INSERT INTO lanes AS l (target, sender, line, again, due_at)
SELECT target, sender, line, attempt > 0, min(next_at) FROM changed WHERE state = 'due'
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (target, sender, line, again) DO UPDATE
    SET due_at = least(l.due_at, excluded.due_at), touched = excluded.touched
"""

# Nothing is sent for a deleted query; an existing one cannot be deleted until we commit.
_SCHEDULE = f"""
WITH asked AS (
    SELECT query_id, deleted_at FROM queries WHERE query_id = ANY($2::uuid[])
    ORDER BY query_id FOR KEY SHARE
), changed AS (
    INSERT INTO deliveries (delivery_id, query_id, owner, target, url, event, state)
    SELECT u.delivery_id, u.query_id, u.owner, u.target, u.url, u.event::jsonb, 'due'
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
         AS u (delivery_id, query_id, owner, target, url, event)
    WHERE u.query_id NOT IN (SELECT query_id FROM asked WHERE deleted_at IS NOT NULL)
    ORDER BY u.delivery_id
    ON CONFLICT (delivery_id) DO NOTHING
    RETURNING query_id, target, sender, line, attempt, next_at, state
), told AS ({noting_queries()})
{OPEN_LANES}
"""  # noqa: S608 - a constant

#: Ends the statement of a claim (`lanes`), over the webhooks that it has `locked`. The attempt is
#: counted here, before anything is sent. Parameters: $11 the token, $12 how long the lease lasts.
LEASE = f"""
, leased AS (
UPDATE deliveries d SET state = 'leased', attempt = d.attempt + 1, token = $11,
                        lease_until = clock_timestamp() + $12::interval
FROM locked WHERE d.delivery_id = locked.delivery_id
RETURNING d.delivery_id, d.query_id, d.owner, d.sender, d.target, d.url,
          d.event::text AS event, d.attempt, d.attempt - d.attempts_before AS made,
          coalesce(d.asked_at, d.created_at) AS created_at
), told AS ({noting_queries("leased")})
SELECT * FROM leased
"""  # noqa: S608 - a constant

# Attempts beyond the schedule arise only from crashes; one more is allowed, to record an outcome.
_EXPIRE = f"""
WITH expired AS (
    SELECT delivery_id, stopped_by IS NOT NULL AS is_stopped,
           stopped_by IS NOT NULL OR attempt - attempts_before > $1 AS spent
    FROM deliveries WHERE state = 'leased' AND lease_until < now()
    ORDER BY lease_until LIMIT 500 FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE deliveries d SET state = CASE WHEN spent THEN 'dead' ELSE 'due' END,
           token = NULL, lease_until = NULL, next_at = now(), waits_for = NULL,
           reason = CASE WHEN is_stopped THEN 'stopped' WHEN spent THEN 'process_crashed' END,
           finished_at = CASE WHEN spent THEN now() END
    FROM expired e WHERE d.delivery_id = e.delivery_id
    RETURNING d.query_id, d.target, d.sender, d.line, d.attempt, d.next_at, d.state, is_stopped
), opened AS ({OPEN_LANES}), told AS ({noting_queries()})
SELECT state = 'dead' AND NOT is_stopped AS spent, state = 'due' AS is_due FROM changed
"""  # noqa: S608 - a constant

# A 2xx counts even if the lease has ended meanwhile, and ends the retries. The attempt is recorded
# in any case, unless the query was deleted. An attempt that is not charged is undone and not
# recorded. Behind a manual one the automatic ones go on when they would have.
_SETTLE = f"""
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::interval[], $5::text[],
                         $6::int4[], $7::timestamptz[], $8::int4[], $9::int4[], $10::text[],
                         $11::text[], $12::bool[], $13::text[], $14::int4[], $15::int4[],
                         $16::int4[], $17::int4[], $18::text[], $19::bytea[], $20::bool[])
         AS g (delivery_id, token, state, pause, reason,
               attempt, started_at, took_ms, status, error,
               detail, charged, waits_for, dns_ms, connect_ms,
               tls_ms, wait_ms, headers, body, body_is_cut)
), held AS (  -- before anything refers to them: one that is deleted meanwhile is left out
    SELECT d.delivery_id, d.token, d.is_manual, d.stopped_by
    FROM deliveries d JOIN given USING (delivery_id)
    ORDER BY d.delivery_id FOR NO KEY UPDATE OF d
), noted AS (
    INSERT INTO attempts (delivery_id, attempt, started_at, took_ms, status, error, detail,
                          dns_ms, connect_ms, tls_ms, wait_ms, headers, body, body_is_cut,
                          is_manual)
    SELECT g.delivery_id, g.attempt, g.started_at, g.took_ms, g.status, g.error, g.detail,
           g.dns_ms, g.connect_ms, g.tls_ms, g.wait_ms, g.headers::jsonb, g.body, g.body_is_cut,
           held.is_manual
    FROM given g JOIN held USING (delivery_id) WHERE g.charged
    ON CONFLICT (delivery_id, attempt) DO NOTHING
), last AS (  -- of two leases of one webhook: the 2xx, else that which still holds
    SELECT DISTINCT ON (delivery_id) g.*,
           g.state = 'due' AND held.stopped_by IS NOT NULL AS is_stopped
    FROM given g JOIN held USING (delivery_id)
    ORDER BY delivery_id, (g.state = 'delivered') DESC,
             (g.token IS NOT DISTINCT FROM held.token) DESC
), changed AS (
    UPDATE deliveries d SET
           state = CASE WHEN is_stopped THEN 'dead' ELSE g.state END,
           next_at = CASE WHEN d.planned_at IS NULL OR NOT g.charged
                              THEN coalesce(now() + g.pause, d.next_at)
                          WHEN g.waits_for = 'retry_after'
                              THEN greatest(now() + g.pause, d.planned_at)
                          ELSE d.planned_at END,
           reason = CASE WHEN is_stopped THEN 'stopped' ELSE g.reason END,
           waits_for = CASE WHEN NOT is_stopped THEN coalesce(g.waits_for, d.waits_for) END,
           token = NULL, lease_until = NULL,
           attempt = CASE WHEN g.charged THEN d.attempt ELSE d.attempt - 1 END,
           is_manual = d.is_manual AND NOT g.charged,
           planned_at = CASE WHEN NOT g.charged THEN d.planned_at END,
           finished_at = CASE WHEN is_stopped OR g.state IN ('delivered', 'dead') THEN now() END
    FROM last g WHERE d.delivery_id = g.delivery_id
      AND (d.state = 'leased' AND d.token = g.token
           OR g.state = 'delivered' AND d.state <> 'delivered')
    RETURNING d.delivery_id, d.query_id, d.target, d.sender, d.line, d.attempt, d.next_at, d.state
), opened AS ({OPEN_LANES}), told AS ({noting_queries()})
SELECT delivery_id FROM changed
"""  # noqa: S608 - a constant

#: Parameters: the age, and how many at most.
PRUNE = """
DELETE FROM deliveries WHERE delivery_id IN (
    SELECT delivery_id FROM deliveries
    WHERE state IN ('delivered', 'dead') AND finished_at < now() - $1::interval LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
_BRING_FORWARD = f"""
WITH waiting AS (
    SELECT d.delivery_id, greatest(now(), a.started_at + make_interval(
               secs => coalesce(a.took_ms, 0) / 1000.0
                       + ($2::float8[])[d.attempt - d.attempts_before])) AS earliest
    FROM deliveries d JOIN attempts a ON a.delivery_id = d.delivery_id AND a.attempt = d.attempt
    WHERE d.state = 'due' AND d.target = $1 AND d.attempt > 0 AND d.next_at > now()
      AND a.status IS NULL AND a.error = ANY($3::text[])
    ORDER BY d.next_at LIMIT 1000
    FOR NO KEY UPDATE OF d SKIP LOCKED
), changed AS (
    UPDATE deliveries d SET next_at = w.earliest FROM waiting w
    WHERE d.delivery_id = w.delivery_id AND w.earliest < d.next_at
    RETURNING d.delivery_id, d.query_id, d.target, d.sender, d.line, d.attempt, d.next_at, d.state
), opened AS ({OPEN_LANES}), told AS ({noting_queries()})
SELECT delivery_id FROM changed
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class Leased:
    """A webhook that is ours to send until the lease ends.

    Attributes:
        sender: who takes turns with others at the target: the owner, or of what has none the line.
        attempt: this one's number, over all redeliveries.
        made: its number since the webhook was last put on the schedule, at `created_at`.
        deadline: the lease lasts at least until then, by `time.monotonic` of this process.
    """

    delivery_id: UUID
    query_id: UUID
    owner: str | None
    sender: str
    target: str
    url: str
    event: str
    attempt: int
    made: int
    created_at: datetime
    token: UUID
    deadline: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What people are shown of an answer: bounded, and without secrets."""

    headers: Sequence[tuple[str, str]]
    body: bytes
    body_is_cut: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one attempt: HTTP `status`, or `error`, the class if there was no answer.

    Attributes:
        times_ms: of its steps: `dns`, `connect`, `tls`, `wait`, as far as there were such.
    """

    started_at: datetime
    took_ms: int
    status: int | None = None
    error: str | None = None
    detail: str | None = None
    times_ms: Mapping[str, int] = field(default_factory=dict)
    answered: Answered | None = None

    @property
    def shown(self) -> tuple[object, ...]:
        """Values of the columns that are for people to see."""
        answered, times = self.answered, self.times_ms
        of_answer: tuple[object, ...] = (None, None, None)
        if answered is not None:
            headers = json.dumps([list(one) for one in answered.headers])
            of_answer = (headers, answered.body[:MAX_BODY_BYTES], answered.body_is_cut)
        return (*(times.get(step) for step in ("dns", "connect", "tls", "wait")), *of_answer)


@dataclass(frozen=True, slots=True)
class Settled:
    """How a lease ends: `delivered`, `dead`, or `due` again at `next_at` (None: as it was).

    Attributes:
        charged: False for a fault of our own; the lease is then released and the attempt undone.
        waits_for: what `next_at` is from: `schedule` or `retry_after`; None: as it was.
    """

    state: str
    next_at: datetime | None = None
    reason: str | None = None
    charged: bool = True
    waits_for: str | None = None


async def schedule(
    tx: Transaction, webhooks: Sequence[tuple[UUID, str, CallbackRequested | OperatorNotice]]
) -> None:
    """Put webhooks on the schedule, due at once; one that is there already stays as it is.

    Args:
        tx: the transaction.
        webhooks: (id on the wire, target, answer or operator event).
    """
    if webhooks:
        await tx.execute(
            _SCHEDULE,
            [delivery_id for delivery_id, _, _ in webhooks],
            [event.query_id for _, _, event in webhooks],
            [event.owner for _, _, event in webhooks],
            [target for _, target, _ in webhooks],
            [event.url for _, _, event in webhooks],
            [event.model_dump_json(exclude_none=True) for _, _, event in webhooks],
        )


async def expire_leases(tx: Transaction, *, attempts: int) -> tuple[int, int]:
    """Make webhooks due again whose lease ran out (the worker died).

    One that was tried more often than the schedule has `attempts`, and had no outcome, is given up
    (`process_crashed`): it may be what kills the workers. Return how many are due and given up.
    """
    rows = await tx.fetch(_EXPIRE, attempts)
    return sum(row["is_due"] for row in rows), sum(row["spent"] for row in rows)


async def settle(
    connection: Transaction, ended: Sequence[tuple[Leased, Attempt, Settled]]
) -> set[UUID]:
    """Record attempts and their outcomes; return those whose leases were still ours.

    One statement: what it does, it does for all of them.

    Due times are set by PostgreSQL's clock, by which webhooks are also claimed: ours may be off.
    """
    now = datetime.now(UTC)
    columns = zip(
        *(
            (
                lease.delivery_id, lease.token, _state_after(attempt, outcome),
                None if outcome.next_at is None else outcome.next_at - now, outcome.reason,
                lease.attempt, attempt.started_at, attempt.took_ms, attempt.status, attempt.error,
                attempt.detail, outcome.charged, outcome.waits_for, *attempt.shown,
            )
            for lease, attempt, outcome in ended
        ),
        strict=True,
    )  # fmt: skip
    rows = await connection.fetch(_SETTLE, *columns)
    return {row["delivery_id"] for row in rows}


def _state_after(attempt: Attempt, outcome: Settled) -> str:
    """Return how a lease ends: an answer counts from its status line on, whatever came behind."""
    is_success = attempt.status is not None and 200 <= attempt.status < 300
    return "delivered" if is_success else outcome.state


async def bring_forward(
    tx: Transaction, target: str, *, after_s: Sequence[float], kinds: Sequence[str]
) -> int:
    """Make those webhooks of a target due now whose retry waits only because it was away.

    That is where the last attempt got no answer. A webhook is never brought so far forward that it
    waits less than before the attempt that failed: one whose own address is dead, on a target that
    answers others, keeps most of its time. Returns how many are due earlier now; the first 1,000.

    Args:
        tx: the transaction.
        target: which answers again.
        after_s: by the number of attempts made, how long after the last one it may be due.
        kinds: what attempts that got no answer came to, for the target's part.
    """
    return len(await tx.fetch(_BRING_FORWARD, target, list(after_s), list(kinds)))
