"""What delivery processes know of targets, for people to see. Table `target_health`."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime

from core.transaction import Transaction

_REPORT = """
INSERT INTO target_health AS h (instance, target, cap, in_flight, failures, is_half_open,
    opened_until, paused_until, rated_until, last_ok_at, last_error, last_error_at, p99_ms)
SELECT $1, u.* FROM unnest($2::text[], $3::int4[], $4::int4[], $5::int4[], $6::bool[],
    $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::text[],
    $12::timestamptz[], $13::int4[]) AS u
ORDER BY 2
ON CONFLICT (target, instance) DO UPDATE SET
    cap = excluded.cap, in_flight = excluded.in_flight, failures = excluded.failures,
    is_half_open = excluded.is_half_open, opened_until = excluded.opened_until,
    paused_until = excluded.paused_until, rated_until = excluded.rated_until,
    last_ok_at = coalesce(excluded.last_ok_at, h.last_ok_at),
    last_error = coalesce(excluded.last_error, h.last_error),
    last_error_at = coalesce(excluded.last_error_at, h.last_error_at),
    p99_ms = coalesce(excluded.p99_ms, h.p99_ms), updated_at = now()
"""
# When it was reached last outlives the process; what it was about to do does not.
_FORGET = """
UPDATE target_health SET in_flight = 0, failures = 0, is_half_open = false, opened_until = NULL,
                         paused_until = NULL, rated_until = NULL
WHERE instance = $1 AND (in_flight > 0 OR failures > 0 OR is_half_open
                         OR num_nonnulls(opened_until, paused_until, rated_until) > 0)
"""
#: Tells whether processes that run leave what is due since `{since}`. Each looks every second, so
#: that none has room: at the target, for its sender there, for targets as new or as slow, or in
#: all. Which of these it is they know at the moment of each claim, and keep nowhere.
LEFT = """
{since} < now() - interval '3 seconds' AND EXISTS (
    SELECT FROM heartbeats
    WHERE role = 'delivery_lanes' AND stopped_at IS NULL
      AND seen_at > now() - interval '15 seconds')
"""
#: Joins to a webhook `d` what it waits for: `w.waits_for`, `w.waits_until`. Of several processes
#: that which lets it go first counts; what one knew that is gone ends with its own time.
WAITS = f"""
LEFT JOIN LATERAL (
    SELECT min(coalesce(opened_until, '-infinity')) AS opened_until,
           min(coalesce(paused_until, '-infinity')) AS paused_until,
           min(coalesce(rated_until, '-infinity')) AS rated_until,
           sum(in_flight) >= sum(cap) AS is_full
    FROM target_health WHERE target = d.target AND updated_at > now() - interval '10 minutes'
) h ON d.state = 'due'
LEFT JOIN LATERAL (
    SELECT CASE
        WHEN EXISTS (SELECT FROM targets t
                     WHERE t.target = d.target AND t.disabled_at IS NOT NULL) THEN 1
        WHEN h.opened_until > now() AND h.opened_until >= greatest(d.next_at, h.paused_until) THEN 2
        WHEN h.paused_until > greatest(now(), d.next_at) THEN 3
        WHEN d.next_at > now() THEN 4
        WHEN h.rated_until > now() THEN 5
        WHEN h.is_full OR {LEFT.format(since="d.next_at")} THEN 6 END AS number
) v ON d.state = 'due'
LEFT JOIN LATERAL (
    SELECT (ARRAY['disabled', 'breaker', 'retry_after', coalesce(d.waits_for, 'schedule'), 'rate',
                  'room'])[v.number] AS waits_for,
           (ARRAY[NULL, h.opened_until, h.paused_until, d.next_at, h.rated_until,
                  NULL])[v.number] AS waits_until
) w ON true
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class ReportedTarget:
    """What one process knows of a target; the order is that of the statement's parameters.

    Attributes:
        cap: attempts in flight at most.
        failures: in a row.
        is_half_open: its breaker lets one attempt through, or will when it opens.
        opened_until: by the breaker.
        paused_until: by a Retry-After.
        rated_until: by the rate per target.
        p99_ms: of its last attempts.
    """

    target: str
    cap: int
    in_flight: int
    failures: int
    is_half_open: bool
    opened_until: datetime | None
    paused_until: datetime | None
    rated_until: datetime | None
    last_ok_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    p99_ms: int | None


async def report(connection: Transaction, instance: str, targets: Sequence[ReportedTarget]) -> None:
    """Write what a process knows of targets, no two the same."""
    await connection.execute(
        _REPORT, instance, *map(list, zip(*map(astuple, targets), strict=True))
    )


async def forget(connection: Transaction, instance: str) -> None:
    """End what a process held back that has begun anew."""
    await connection.execute(_FORGET, instance)
