"""What has changed, for those who watch: table `changes`, a row per transaction and kind.

Every transaction notes the ids of what it changes, under its own id. Whoever watches keeps the
snapshot of its last look, and gets what has become visible since: a commit that lands late is seen
by the first look after it, and none twice (docs/decisions/0032).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from core.transaction import Transaction

Kind = Literal["image", "query"]

#: Rows live so long; whoever looks more rarely begins anew.
KEPT_S = 120.0
#: Of one statement: what nobody deleted while no consumer ran may be millions of rows.
PORTION = 20_000
#: Ids of one look; beyond it is only said that there are more.
MOST_IDS = 1000

_NOTE = "INSERT INTO changes (kind, ids) VALUES ($1, $2)"
# xmin: transactions below it had ended when the last look was taken.
_SINCE = """
SELECT s.seen, c.kind, c.id, c.gone_for
FROM (SELECT pg_current_snapshot()::text AS seen) s
LEFT JOIN LATERAL (
    SELECT DISTINCT kind, unnest(ids) AS id, gone_for FROM changes
    WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
      AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot) AND kind = ANY($2::text[])
    LIMIT $3
) c ON true
"""
_NOW = "SELECT pg_current_snapshot()::text"
_PRUNE = """
DELETE FROM changes WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM changes WHERE noted_at < now() - make_interval(secs => $1) LIMIT $2))
"""


def noting_queries(rows: str = "changed") -> str:
    """Return what notes the queries of a statement's rows, as the body of a WITH query."""
    return (
        "INSERT INTO changes (kind, ids)"  # noqa: S608 - a name in our own statement
        f" SELECT 'query', array_agg(DISTINCT query_id) FROM {rows} HAVING count(*) > 0"
    )


@dataclass(frozen=True, slots=True)
class Changed:
    """What has changed since a look.

    Attributes:
        seen: the snapshot of this look, for the next one.
        ids: of what has changed, by kind.
        gone: audiences (`core.storage.archive.ownership`) that an image is gone for.
        is_cut: more has changed than is listed.
    """

    seen: str
    ids: dict[str, list[UUID]]
    gone: dict[UUID, set[str]]
    is_cut: bool


async def note(tx: Transaction, kind: Kind, ids: Collection[UUID]) -> None:
    """Note that the transaction changes these."""
    if ids:
        await tx.execute(_NOTE, kind, list(ids))


async def now(connection: Transaction) -> str:
    """Return the snapshot from which on changes are to be told."""
    return str(await connection.fetchval(_NOW))


async def since(connection: Transaction, seen: str, kinds: Sequence[Kind]) -> Changed:
    """Return what transactions changed that were not yet visible in `seen`."""
    rows = await connection.fetch(_SINCE, seen, list(kinds), MOST_IDS + 1)
    ids: dict[str, dict[UUID, None]] = {}
    gone: dict[UUID, set[str]] = {}
    for row in rows[:MOST_IDS]:
        if row["id"] is not None:
            ids.setdefault(row["kind"], {})[row["id"]] = None
        if row["gone_for"] is not None:
            gone.setdefault(row["id"], set()).add(row["gone_for"])
    listed = {kind: list(of_kind) for kind, of_kind in ids.items()}
    return Changed(rows[0]["seen"], listed, gone, len(rows) > MOST_IDS)


async def prune(connection: Transaction, portion: int = PORTION) -> bool:
    """Forget what everybody who watches has seen, so many rows; return whether there are more."""
    tag = await connection.execute(_PRUNE, KEPT_S, portion)
    return int(tag.split()[-1]) == portion
