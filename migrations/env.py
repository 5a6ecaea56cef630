"""Alembic's entry: runs the migrations on DATABASE_URL, under an advisory lock.

Each revision is a transaction of its own: what one locks, the next ones do not keep locked.
"""

import asyncio
import shlex

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, event, pool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from core.errors import ConfigurationError
from core.settings import DatabaseSettings, StandaloneSettings, load
from core.storage.connecting import connect
from core.storage.locks import MIGRATIONS

OLDEST_SERVER = 18  # RETURNING old: core/storage/archive/image_tags.py
OLDEST_VECTOR = (0, 7)  # halfvec
NO_RIGHT = "42501"  # SQLSTATE


def _begin(connection: Connection) -> None:
    # SQLAlchemy 2.1 begins a transaction on asyncpg with its first own statement. Those of a
    # revision bypass it, and would be committed before the revision is noted.
    connection.exec_driver_sql("SELECT")


def _run(connection: Connection) -> None:
    # The session's, beyond each transaction: it ends with the connection.
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATIONS})
    _check(connection)
    connection.commit()
    event.listen(connection, "begin", _begin)
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def _check(connection: Connection) -> None:
    version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    if version < OLDEST_SERVER:
        raise ConfigurationError(
            f"DATABASE_URL: this is PostgreSQL {version}; {OLDEST_SERVER} or newer is needed"
        )
    if not connection.execute(text("SELECT to_regclass('alembic_version')")).scalar():
        _check_new(connection)
        return
    known = {revision.revision for revision in context.script.walk_revisions()}
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars()
    for revision in set(found) - known:
        home = shlex.quote(str(load(StandaloneSettings).home))
        raise ConfigurationError(
            f"DATABASE_URL: the database has schema {revision}, of an archive before the first"
            " release, which cannot be upgraded: make the database anew and tag the photos again"
            f" (on one machine: stop the archive, remove its folder with `rm -rf {home}`, start it)"
        )


def _check_new(connection: Connection) -> None:
    """Check that an empty database can take the schema, with a sentence for whoever made it."""
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"DATABASE_URL: the database has the encoding {encoding} and must have UTF8: make it"
            " with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    may_create = "SELECT has_schema_privilege(current_schema(), 'CREATE')"
    if not connection.execute(text(may_create)).scalar():
        raise ConfigurationError(
            "DATABASE_URL: the role may not create tables: let the database's owner run"
            " `GRANT CREATE ON SCHEMA public TO …`"
        )
    _create_vector(connection)


def _create_vector(connection: Connection) -> None:
    installed = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    available = "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
    found = connection.execute(text(installed)).scalar()
    offered = found or connection.execute(text(available)).scalar()
    if offered is None:
        raise ConfigurationError("DATABASE_URL: the server has no pgvector: install it there")
    if tuple(int(part) for part in offered.split(".")[:2]) < OLDEST_VECTOR:
        raise ConfigurationError(
            f"DATABASE_URL: this is pgvector {offered}; {'.'.join(map(str, OLDEST_VECTOR))} or"
            " newer is needed"
        )
    if found:
        return
    try:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != NO_RIGHT:
            raise
        raise ConfigurationError(
            "DATABASE_URL: the role may not create the extension pgvector: let a superuser run"
            " `CREATE EXTENSION vector` in this database, then try again"
        ) from error


async def _upgrade() -> None:
    settings = load(DatabaseSettings)
    # Connected as the other processes are: SQLAlchemy reads a URL's options otherwise.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: connect(settings), poolclass=pool.NullPool
    )
    async with engine.connect() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


try:
    asyncio.run(_upgrade())
except ConfigurationError as error:
    raise CommandError(str(error)) from error  # which `alembic` prints as one line
