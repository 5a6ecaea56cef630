"""What waits in each stage of the pipeline, by queries that stay cheap however much waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.storage.delivery.target_health import LEFT
from core.transaction import Transaction
from schemas.record import Partition

#: Targets whose webhooks are looked at, and how many of each line are counted.
MOST_LINES = 1000
MOST_OF_LINE = 200

_PROGRESS = "SELECT grp, topic, part, next_offset FROM progress"
_CLOCK = "SELECT clock_timestamp()"
# `last_value` counts what was ever written; ids of what was rolled back count along.
_OUTBOX = """
SELECT (SELECT last_value FROM outbox_id_seq) AS arrived,
       (SELECT count(*) FROM (SELECT FROM outbox LIMIT 10000) few) AS waiting,
       (SELECT min(created_at) FROM outbox) AS oldest
"""
_PARKED = "SELECT count(*) AS waiting, min(parked_at) AS oldest FROM parked_images"
_PARKED_QUERIES = "SELECT count(*) FROM (SELECT FROM parked_queries LIMIT 10000) few"
# A version that no process has begun with yet waits from the moment it was put in force.
_LABEL_WORK = """
SELECT coalesce(sum(r.total - r.rescored) FILTER (WHERE r.finished_at IS NULL), 0)::int8
       + (SELECT count(*) FROM label_previews WHERE state = 'waiting')
       + count(*) FILTER (WHERE r.version < s.version AND r.finished_at IS NOT NULL) AS waiting,
       coalesce(sum(r.rescored), 0)::int8 AS done,
       least(min(CASE WHEN r.version < s.version THEN s.changed_at
                      WHEN r.finished_at IS NULL THEN r.started_at END),
             (SELECT min(created_at) FROM label_previews WHERE state = 'waiting')) AS oldest
FROM label_set s LEFT JOIN rescoring r ON true
GROUP BY s.version
"""
# By lines that are due (`lanes`), so that what waits for later costs nothing.
_TARGETS = f"""
WITH line AS (
    SELECT target, sender, line, again FROM lanes
    WHERE again IN (false, true) AND due_at <= now() ORDER BY due_at LIMIT {MOST_LINES}
), found AS (
    SELECT l.target, l.sender, w.* FROM line l CROSS JOIN LATERAL (
        SELECT count(*) AS waiting, min(next_at) AS oldest
        FROM (SELECT d.next_at FROM deliveries d
              WHERE d.state = 'due' AND d.target = l.target AND d.sender = l.sender
                AND d.line = l.line AND (d.attempt > 0) = l.again AND d.next_at <= now()
              ORDER BY d.next_at LIMIT {MOST_OF_LINE}) due
    ) w WHERE w.waiting > 0
), pile AS (
    SELECT target, sender, sum(waiting)::int8 AS waiting, min(oldest) AS oldest
    FROM found GROUP BY 1, 2
), health AS (
    SELECT target, bool_and(coalesce(opened_until > now(), false)) AS is_broken,
           bool_and(is_half_open) AS is_half_open,
           bool_and(coalesce(paused_until > now(), false)) AS is_paused,
           bool_and(coalesce(rated_until > now(), false)) AS is_rated,
           sum(in_flight) >= sum(cap) AS is_full
    FROM target_health
    WHERE target IN (SELECT target FROM pile) AND updated_at > now() - interval '10 minutes'
    GROUP BY 1
)
SELECT p.target, p.sender, p.waiting, p.oldest,
       CASE WHEN t.target IS NOT NULL THEN 'disabled' WHEN h.is_broken THEN 'broken'
            WHEN h.is_half_open THEN 'half_open' ELSE 'open' END AS state,
       CASE WHEN t.target IS NOT NULL THEN 'disabled' WHEN h.is_broken THEN 'breaker'
            WHEN h.is_paused THEN 'retry_after' WHEN h.is_rated THEN 'rate'
            WHEN h.is_full OR {LEFT.format(since="p.oldest")} THEN 'room' END AS waits_for
FROM pile p LEFT JOIN health h USING (target)
LEFT JOIN targets t ON t.target = p.target AND t.disabled_at IS NOT NULL
ORDER BY p.oldest
"""  # noqa: S608 - constants only
_LETTERS = """
SELECT reason, count(*) AS letters, max(created_at) AS newest_at
FROM (SELECT reason, created_at FROM dead_letters
      WHERE replayed_at IS NULL ORDER BY id DESC LIMIT 10000) AS newest
GROUP BY reason ORDER BY letters DESC, reason
"""
_TREND_SLOTS, _TREND_S = 60, 15
_NOTE_TREND = f"""
INSERT INTO stage_trends AS t (stage, slot, at, oldest_s)
SELECT u.stage, (floor(b.second / {_TREND_S})::int8 % {_TREND_SLOTS})::int2,
       to_timestamp(floor(b.second / {_TREND_S}) * {_TREND_S}), u.oldest
FROM unnest($1::text[], $2::real[]) AS u (stage, oldest),
     (SELECT extract(epoch FROM now()) AS second) AS b
ORDER BY 1
ON CONFLICT (stage, slot) DO UPDATE SET at = excluded.at,
    oldest_s = CASE WHEN t.at = excluded.at THEN greatest(t.oldest_s, excluded.oldest_s)
                    ELSE excluded.oldest_s END
"""  # noqa: S608 - constants only
_TRENDS = f"""
SELECT stage, oldest_s, (floor(extract(epoch FROM now()) / {_TREND_S})
                         - extract(epoch FROM at) / {_TREND_S})::int4 AS slots_ago
FROM stage_trends
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class Pile:
    """What waits somewhere.

    Attributes:
        waiting: pieces of work; of very many only some thousands are counted.
        oldest: since when the oldest waits.
        arrived: how many ever came; None where nobody counts.
        done: how many were ever finished; None where nobody counts.
    """

    waiting: int
    oldest: datetime | None
    arrived: int | None = None
    done: int | None = None


@dataclass(frozen=True, slots=True)
class TargetPile:
    """Webhooks of one sender that are due at one target.

    Attributes:
        sender: their owner; begins with a tab where they have none.
        state: of the target: open, broken, half_open, disabled.
        waits_for: what they wait for (`DeliveryStatus`), as the processes told it.
    """

    target: str
    sender: str
    waiting: int
    oldest: datetime
    state: Literal["open", "broken", "half_open", "disabled"]
    waits_for: str | None


@dataclass(frozen=True, slots=True)
class LettersOfReason:
    """Dead letters that were set aside for one reason."""

    reason: str
    letters: int
    newest_at: datetime


async def clock(connection: Transaction) -> datetime:
    """Return PostgreSQL's time."""
    at: datetime = await connection.fetchval(_CLOCK)
    return at


async def progress(connection: Transaction) -> dict[str, dict[Partition, int]]:
    """Return the next offset of every partition, by group."""
    found: dict[str, dict[Partition, int]] = {}
    for row in await connection.fetch(_PROGRESS):
        found.setdefault(row["grp"], {})[Partition(row["topic"], row["part"])] = row["next_offset"]
    return found


async def piles(connection: Transaction) -> dict[str, Pile]:
    """Return what waits in `outbox`, `parked_images` and `label_work`, and `parked_queries`."""
    return {
        "outbox": Pile(**await connection.fetchrow(_OUTBOX) or {}),
        "parked_images": Pile(**await connection.fetchrow(_PARKED) or {}),
        "label_work": Pile(**await connection.fetchrow(_LABEL_WORK) or {"waiting": 0}),
        "parked_queries": Pile(await connection.fetchval(_PARKED_QUERIES), None),
    }


async def targets(connection: Transaction) -> list[TargetPile]:
    """Return the webhooks that are due, by target and sender, the longest waiting first."""
    return [TargetPile(**row) for row in await connection.fetch(_TARGETS)]


async def letters(connection: Transaction) -> list[LettersOfReason]:
    """Count dead letters that were not replayed by reason, among the newest 10,000."""
    return [LettersOfReason(**row) for row in await connection.fetch(_LETTERS)]


async def note_trend(connection: Transaction, oldest_s: Mapping[str, float]) -> None:
    """Note how long the oldest piece of work of each stage waits now."""
    await connection.execute(_NOTE_TREND, list(oldest_s), list(oldest_s.values()))


async def trends(connection: Transaction) -> dict[str, Sequence[float | None]]:
    """Return per stage the waits of the last 15 min, 60 of 15 s, the present one last."""
    found: dict[str, list[float | None]] = {}
    for row in await connection.fetch(_TRENDS):
        trend = found.setdefault(row["stage"], [None] * _TREND_SLOTS)
        if 0 <= row["slots_ago"] < _TREND_SLOTS:
            trend[-1 - row["slots_ago"]] = row["oldest_s"]
    return dict(found)
