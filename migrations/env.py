"""Alembic's entry: runs the migrations on DATABASE_URL, under an advisory lock."""

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from core.settings import DatabaseSettings, load
from core.storage.pool import connect

LOCK = 7300  # two processes that migrate at once take turns


def _run(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()


async def _upgrade() -> None:
    settings = load(DatabaseSettings)
    # Connected as the other processes are: SQLAlchemy reads a URL's options otherwise.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: connect(settings), poolclass=pool.NullPool
    )
    async with engine.begin() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


asyncio.run(_upgrade())
