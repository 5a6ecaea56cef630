"""What processes say of themselves, a row per part and instance: table `heartbeats`.

All times are PostgreSQL's: a process says how long ago something was, so that one clock counts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core.telemetry.vitals import Beat
from core.transaction import Transaction

_BEAT = """
INSERT INTO heartbeats AS h (role, instance, started_at, progressed_at, oldest_waiting, waiting,
                             still_s, rates, about)
SELECT u.role, u.instance, now() - u.age * interval '1 second',
       now() - u.progressed * interval '1 second', now() - u.oldest * interval '1 second',
       u.waiting, u.still, jsonb_build_object('done', round(u.done::numeric, 3)), u.about::jsonb
FROM unnest($1::text[], $2::text[], $3::float8[], $4::float8[], $5::float8[], $6::int8[],
            $7::real[], $8::float8[], $9::text[])
     AS u (role, instance, age, progressed, oldest, waiting, still, done, about)
ORDER BY 1, 2
ON CONFLICT (role, instance) DO UPDATE SET
    started_at = CASE WHEN abs(extract(epoch FROM h.started_at - excluded.started_at)) < 2
                      THEN h.started_at ELSE excluded.started_at END,
    seen_at = now(), progressed_at = excluded.progressed_at,
    oldest_waiting = excluded.oldest_waiting, waiting = excluded.waiting,
    still_s = excluded.still_s, rates = excluded.rates, about = excluded.about, stopped_at = NULL
"""
_STOP = """
UPDATE heartbeats h SET stopped_at = now(), seen_at = now(), still_s = 0
FROM unnest($1::text[], $2::text[]) AS u (role, instance)
WHERE (h.role, h.instance) = (u.role, u.instance)
"""
_ALL = """
SELECT role, instance, started_at, seen_at, progressed_at, oldest_waiting, waiting, still_s,
       coalesce((rates->>'done')::float8, 0) AS done_per_s, about::text AS about, stopped_at
FROM heartbeats ORDER BY role, instance
"""
_MODELS = """
SELECT about->>'model' AS model, max(started_at) AS loaded_at, max(seen_at) AS seen_at,
       array_agg(DISTINCT about->>'lane') AS lanes
FROM heartbeats
WHERE about ? 'model' AND stopped_at IS NULL AND seen_at > now() - $1::interval
GROUP BY 1 ORDER BY 2 DESC, 1
"""
#: A row that another one has followed goes soon; the last of its role tells since when it is gone.
PRUNE = """
DELETE FROM heartbeats WHERE (role, instance) IN (
    SELECT h.role, h.instance FROM heartbeats h
    WHERE h.seen_at < now() - $1::interval
       OR h.seen_at < now() - interval '10 minutes' AND EXISTS (
           SELECT FROM heartbeats n
           WHERE n.role = h.role AND n.seen_at > h.seen_at + interval '1 minute')
    LIMIT $2)
"""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a part of a process said last.

    Attributes:
        role: the part: `tagging`, `tagging_bulk`, `tagging_slow`, `query`, `delivery`,
            `delivery_lanes`, `upkeep`, `jobs`, `watch`, `ingress`.
        waiting: pieces of work that it knows to wait; None: it cannot tell.
        still_s: for how long it had done nothing although work waited.
        about: `waits_for` (what is away), `halted`, `open_transactions`, `model` and `lane`.
        stopped_at: when it stopped as asked; None: it runs, or fell silent.
    """

    role: str
    instance: str
    started_at: datetime
    seen_at: datetime
    progressed_at: datetime | None
    oldest_waiting: datetime | None
    waiting: int | None
    still_s: float
    done_per_s: float
    about: dict[str, Any]
    stopped_at: datetime | None


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model, when a process last loaded it, and when one last said that it runs with it.

    Attributes:
        lanes: of arrivals that such processes work on, `fresh` before `bulk`.
    """

    model: str
    loaded_at: datetime
    seen_at: datetime
    lanes: tuple[str, ...]


async def beat(connection: Transaction, instance: str, beats: Sequence[Beat]) -> None:
    """Write what the parts of a process say.

    Args:
        connection: to PostgreSQL.
        instance: of parts that have no name of their own.
        beats: no part twice.
    """
    await connection.execute(
        _BEAT,
        [one.role for one in beats],
        [one.instance or instance for one in beats],
        [one.age_s for one in beats],
        [one.progressed_s for one in beats],
        [one.oldest_s for one in beats],
        [one.waiting for one in beats],
        [one.still_s for one in beats],
        [one.done_per_s for one in beats],
        [json.dumps(one.about) for one in beats],
    )


async def stop(connection: Transaction, instance: str, beats: Sequence[Beat]) -> None:
    """Note that these parts have stopped as asked."""
    await connection.execute(
        _STOP, [one.role for one in beats], [one.instance or instance for one in beats]
    )


async def all_of_them(connection: Transaction) -> list[Heartbeat]:
    """Return the last word of every part, also of those that fell silent."""
    rows = await connection.fetch(_ALL)
    return [Heartbeat(**{**row, "about": json.loads(row["about"])}) for row in rows]


async def models(connection: Transaction, within: timedelta) -> list[LoadedModel]:
    """Return the models that processes run with, the last loaded first.

    Args:
        connection: to PostgreSQL.
        within: how long ago a process must have said so.
    """
    rows = await connection.fetch(_MODELS, within)
    return [LoadedModel(**{**row, "lanes": _sorted(row["lanes"])}) for row in rows]


def _sorted(lanes: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(lanes, reverse=True))
