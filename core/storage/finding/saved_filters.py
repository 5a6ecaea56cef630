"""Filters that people keep under a name: table `saved_filters`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.transaction import Transaction

MOST_FILTERS = 100  # of an owner: more are no list that anybody reads

_ALL = "SELECT name, filter, updated_at FROM saved_filters WHERE owner = $1 ORDER BY name"
# One owner's changes come one after the other, so that the limit holds.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7305))"
_PUT = """
INSERT INTO saved_filters (owner, name, filter)
SELECT $1, $2, $3::jsonb
WHERE EXISTS (SELECT FROM saved_filters WHERE owner = $1 AND name = $2)
   OR (SELECT count(*) FROM saved_filters WHERE owner = $1) < $4
ON CONFLICT (owner, name) DO UPDATE SET filter = excluded.filter, updated_at = now()
RETURNING name, filter, updated_at
"""
_DELETE = "DELETE FROM saved_filters WHERE owner = $1 AND name = $2 RETURNING true"


@dataclass(frozen=True, slots=True)
class KeptFilter:
    """A filter with its name, as it was sent."""

    name: str
    filter: Mapping[str, Any]
    updated_at: datetime


async def of_owner(connection: Transaction, owner: str) -> Sequence[KeptFilter]:
    """Return an owner's filters by name."""
    return [_kept(row) for row in await connection.fetch(_ALL, owner)]


async def put(
    tx: Transaction, owner: str, name: str, wanted: Mapping[str, Any]
) -> KeptFilter | None:
    """Keep a filter, in place of one of the same name; None where the owner has too many."""
    await tx.execute(_LOCK, owner)
    row = await tx.fetchrow(_PUT, owner, name, json.dumps(wanted), MOST_FILTERS)
    return None if row is None else _kept(row)


async def delete(connection: Transaction, owner: str, name: str) -> bool:
    """Forget a filter; False where there is none of that name."""
    return bool(await connection.fetchval(_DELETE, owner, name))


def _kept(row: Any) -> KeptFilter:
    return KeptFilter(row["name"], json.loads(row["filter"]), row["updated_at"])
