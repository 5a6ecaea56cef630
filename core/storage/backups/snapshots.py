"""One moment of the database, which several readers share: rows, offsets and sizes agree."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from core.offsets import Identity, Standing
from core.settings import DatabaseSettings
from core.storage.connecting import alone
from core.transaction import Transaction
from schemas.record import Partition

#: Their rows are in no backup: what processes say of themselves, what only the running processes of
#: one moment need, who is signed in, thumbnails, which are made again when asked for, and on which
#: servers the archive has lived: the restored one is another.
LEFT_OUT = (
    "heartbeats", "stage_trends", "changes", "members", "leases", "target_health", "sessions",
    "session_codes", "thumbs", "promotions", "forgotten",
)  # fmt: skip

_BEGIN = """
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET statement_timeout = 0;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
"""
_TABLES = """
SELECT c.relname AS name FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname <> ALL($1)
ORDER BY c.relname
"""
_ABOUT = """
SELECT pg_export_snapshot() AS snapshot, current_database() AS name,
       current_setting('server_version_num')::int / 10000 AS server,
       pg_database_size(current_database()) AS bytes,
       (SELECT version_num FROM alembic_version) AS revision
"""
_PROGRESS = "SELECT grp, topic, part, next_offset, cluster_id, topic_id FROM progress"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of the database.

    Attributes:
        token: by which another session of the same server sees this moment.
        name: of the database.
        server: PostgreSQL's major version.
        revision: of the schema.
        rows: how many rows each table has, of those that are in a backup.
        progress: where each group stands.
    """

    token: str
    name: str
    server: int
    size_bytes: int
    revision: str
    rows: dict[str, int]
    progress: dict[tuple[str, Partition], Standing]


@asynccontextmanager
async def snapshot(settings: DatabaseSettings) -> AsyncIterator[Snapshot]:
    """Hold a moment of the database until the end of the block.

    Raises:
        ConfigurationError: DATABASE_URL is refused, or no archive is there.
        DatabaseAway: PostgreSQL is away.
    """
    async with alone(settings) as connection:
        await connection.execute(_BEGIN)
        about = await connection.fetchrow(_ABOUT)
        if about is None:
            raise RuntimeError("PostgreSQL gave no row for a statement without a table")
        yield Snapshot(
            token=about["snapshot"],
            name=about["name"],
            server=about["server"],
            size_bytes=about["bytes"],
            revision=about["revision"],
            rows=await count_rows(connection),
            progress=await standings(connection),
        )


async def count_rows(connection: Transaction) -> dict[str, int]:
    """Return how many rows each table has, of those whose rows are in a backup."""
    tables = [row["name"] for row in await connection.fetch(_TABLES, list(LEFT_OUT))]
    return {
        table: await connection.fetchval(f'SELECT count(*) FROM "{table}"')  # noqa: S608 - the catalog's
        for table in tables
    }


async def standings(connection: Transaction) -> dict[tuple[str, Partition], Standing]:
    """Return where each group stands in each partition."""
    return {
        (row["grp"], Partition(row["topic"], row["part"])): Standing(
            row["next_offset"], Identity(row["cluster_id"], row["topic_id"])
        )
        for row in await connection.fetch(_PROGRESS)
    }
