"""The models that tagging processes report as loaded."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.transaction import Transaction

_LOADED = """
INSERT INTO loaded_models (model) VALUES ($1)
ON CONFLICT (model) DO UPDATE SET loaded_at = now(), seen_at = now()
"""
_SEEN = "UPDATE loaded_models SET seen_at = now() WHERE model = $1"
_SINCE = """
SELECT model, loaded_at, seen_at FROM loaded_models
WHERE seen_at > now() - $1::interval ORDER BY loaded_at DESC, model
"""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model, when a process last loaded it, and when one last said that it runs with it."""

    model: str
    loaded_at: datetime
    seen_at: datetime


async def loaded(connection: Transaction, model: str) -> None:
    """Note that a process has just loaded a model."""
    await connection.execute(_LOADED, model)


async def seen(connection: Transaction, model: str) -> None:
    """Note that a process still runs with a model."""
    await connection.execute(_SEEN, model)


async def running(connection: Transaction, within: timedelta) -> list[LoadedModel]:
    """Return the models that processes run with, the last loaded first.

    Args:
        within: how long ago a process must have said so.
    """
    return [LoadedModel(**row) for row in await connection.fetch(_SINCE, within)]
