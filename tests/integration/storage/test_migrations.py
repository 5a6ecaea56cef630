"""`python -m migrations`: addresses of the database, several at once, what is locked meanwhile."""

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.servers import REPOSITORY, at_database

LOCK = 7300  # see migrations/env.py


def migrate(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "migrations", "schema"],
        cwd=REPOSITORY,
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_address_may_have_options(empty_database_url: str) -> None:
    done = migrate(f"{empty_database_url}?sslmode=prefer&application_name=setup")

    assert (done.returncode, done.stderr) == (0, "")


def wrong_password(url: str) -> str:
    before, _, after = url.rpartition("@")
    return f"{before}x@{after}"


@pytest.mark.parametrize("change", ["password", "database", "scheme", "port"])
def test_a_wrong_address_is_named_with_exit_code_2(postgres_url: str, change: str) -> None:
    url = {
        "password": wrong_password(postgres_url),
        "database": at_database(postgres_url, "nowhere"),
        "scheme": postgres_url.replace("postgresql:", "mysql:"),
        "port": "postgresql://app@127.0.0.1:port/x",
    }[change]

    done = migrate(url)

    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("configuration: DATABASE_URL: ")
    assert len(done.stderr.splitlines()) == 1, "no traceback"


def test_a_database_that_is_away_is_no_wrong_setting() -> None:
    done = migrate("postgresql://app:app@127.0.0.1:1/x")

    assert done.returncode == 1
    assert done.stderr.startswith("migrations: ")


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to a database without a schema."""
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


async def begin(url: str, *arguments: str) -> Process:
    """Start a migration."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *(arguments or ("migrations", "schema")),
        cwd=REPOSITORY,
        env=os.environ | {"DATABASE_URL": url},
        stdout=PIPE,
        stderr=PIPE,
    )


async def end(process: Process) -> None:
    """Wait for a migration that must succeed."""
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()


async def until_waiting(
    database: "asyncpg.Connection[asyncpg.Record]", kind: str, *, count: int
) -> None:
    """Return when so many wait for a lock of this kind in this database."""
    async with asyncio.timeout(60):
        while count != await database.fetchval(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = $1 AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
            kind,
        ):
            await asyncio.sleep(0.05)


async def test_several_at_once_take_turns(
    empty_database_url: str, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await database.execute(f"SELECT pg_advisory_lock({LOCK})")
    processes = [await begin(empty_database_url) for _ in range(2)]
    await until_waiting(database, "advisory", count=2)

    await database.execute(f"SELECT pg_advisory_unlock({LOCK})")
    for process in processes:
        await end(process)

    assert await database.fetchval("SELECT count(*) FROM alembic_version") == 1


async def test_a_column_of_one_revision_locks_nobody_out_while_the_next_builds_indexes(
    empty_database_url: str, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await end(await begin(empty_database_url, "alembic", "upgrade", "0011"))
    async with database.transaction():
        await database.execute("LOCK TABLE jobs IN ROW EXCLUSIVE MODE")  # bars the build
        migration = await begin(empty_database_url)
        await until_waiting(database, "relation", count=1)

        other = await asyncpg.connect(empty_database_url, server_settings={"lock_timeout": "1000"})
        await other.execute("SELECT deleted_at FROM queries")
        await other.execute("UPDATE tagged_images SET perceptual_hash = 1")
        version = await other.fetchval("SELECT version_num FROM alembic_version")
        await other.close()
    await end(migration)

    assert version == "0013"


async def test_a_revision_is_noted_in_the_transaction_of_its_statements(
    empty_database_url: str, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await end(await begin(empty_database_url, "alembic", "upgrade", "0014"))

    noted = await database.fetchval("SELECT xmin::text FROM alembic_version")
    done = await database.fetchval(
        "SELECT xmin::text FROM pg_class WHERE relname = 'dead_letters_of_reason'"
    )
    assert noted == done
