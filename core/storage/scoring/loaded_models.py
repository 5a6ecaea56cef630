"""The models that tagging processes report as loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.transaction import Transaction

_LOADED = """
INSERT INTO loaded_models (model, lane) SELECT $1, unnest($2::text[])
ON CONFLICT (model, lane) DO UPDATE SET loaded_at = now(), seen_at = now()
"""
_SEEN = "UPDATE loaded_models SET seen_at = now() WHERE model = $1 AND lane = ANY($2)"
_SINCE = """
SELECT model, max(loaded_at) AS loaded_at, max(seen_at) AS seen_at,
       array_agg(lane ORDER BY lane DESC) AS lanes
FROM loaded_models WHERE seen_at > now() - $1::interval
GROUP BY model ORDER BY max(loaded_at) DESC, model
"""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model, when a process last loaded it, and when one last said that it runs with it.

    Attributes:
        lanes: of arrivals that such processes work on.
    """

    model: str
    loaded_at: datetime
    seen_at: datetime
    lanes: tuple[str, ...]


async def loaded(connection: Transaction, model: str, lanes: Sequence[str]) -> None:
    """Note that a process has just loaded a model, and works on these lanes."""
    await connection.execute(_LOADED, model, list(lanes))


async def seen(connection: Transaction, model: str, lanes: Sequence[str]) -> None:
    """Note that a process still runs with a model on these lanes."""
    await connection.execute(_SEEN, model, list(lanes))


async def running(connection: Transaction, within: timedelta) -> list[LoadedModel]:
    """Return the models that processes run with, the last loaded first.

    Args:
        within: how long ago a process must have said so.
    """
    rows = await connection.fetch(_SINCE, within)
    return [LoadedModel(**{**row, "lanes": tuple(row["lanes"])}) for row in rows]
