"""Alembic's entry: runs the migrations on DATABASE_URL, under an advisory lock.

Each revision is a transaction of its own: what one locks, the next ones do not keep locked.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, event, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from core.settings import DatabaseSettings, load
from core.storage.pool import connect

LOCK = 7300  # two processes that migrate at once take turns


def _begin(connection: Connection) -> None:
    # SQLAlchemy 2.1 begins on asyncpg with the first statement that goes through it: those of a
    # revision do not, and would be committed before the revision is noted.
    connection.exec_driver_sql("SELECT")


def _run(connection: Connection) -> None:
    # The session's, beyond each transaction: it ends with the connection.
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
    connection.commit()
    event.listen(connection, "begin", _begin)
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def _upgrade() -> None:
    settings = load(DatabaseSettings)
    # Connected as the other processes are: SQLAlchemy reads a URL's options otherwise.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: connect(settings), poolclass=pool.NullPool
    )
    async with engine.connect() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


asyncio.run(_upgrade())
