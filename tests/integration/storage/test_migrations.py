"""`python -m migrations`: addresses of the database, several at once, what is locked meanwhile."""

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import asyncpg
import pytest

from core.storage.locks import MIGRATIONS
from tests.schema_text import SCHEMA, schema_text
from tests.servers import REPOSITORY, at_database, execute, fresh_database, run_apart


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


@pytest.mark.parametrize(
    ("options", "statement", "told"),
    [
        ("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", "", "has the encoding LATIN1"),
        ("TEMPLATE template0", "", "the role may not create the extension pgvector"),
        (
            "",
            "REVOKE ALL ON SCHEMA public FROM pg_database_owner, public",
            "the role may not create tables",
        ),
    ],
)
def test_a_database_that_cannot_take_the_schema_gets_one_sentence(
    postgres_url: str, options: str, statement: str, told: str
) -> None:
    for url in fresh_database(postgres_url, options):
        if statement:
            run_apart(execute(url, statement))

        done = migrate(url)

        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("configuration: DATABASE_URL: ")
        assert told in done.stderr
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
    await database.execute(f"SELECT pg_advisory_lock({MIGRATIONS})")
    processes = [await begin(empty_database_url) for _ in range(2)]
    await until_waiting(database, "advisory", count=2)

    await database.execute(f"SELECT pg_advisory_unlock({MIGRATIONS})")
    for process in processes:
        await end(process)

    assert await database.fetchval("SELECT count(*) FROM alembic_version") == 1


async def test_a_revision_is_noted_in_the_transaction_of_its_statements(
    empty_database_url: str, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await end(await begin(empty_database_url, "alembic", "upgrade", "head"))

    noted = await database.fetchval("SELECT xmin::text FROM alembic_version")
    done = await database.fetchval(
        "SELECT xmin::text FROM pg_class WHERE relname = 'dead_letters_of_reason'"
    )
    assert noted == done


@pytest.mark.parametrize("revision", ["0001", "0015"])
async def test_a_database_from_before_the_first_release_gets_one_sentence(
    empty_database_url: str, database: "asyncpg.Connection[asyncpg.Record]", revision: str
) -> None:
    await database.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    await database.execute("INSERT INTO alembic_version VALUES ($1)", revision)

    done = await asyncio.to_thread(migrate, empty_database_url)

    assert done.returncode == 2
    assert done.stderr.startswith(
        f"configuration: DATABASE_URL: the database has schema {revision}"
    )
    assert "rm -rf var" in done.stderr
    assert len(done.stderr.splitlines()) == 1, "no traceback"
    assert await database.fetchval("SELECT to_regclass('images')") is None


async def test_the_readable_schema_is_that_of_a_migrated_database(database_url: str) -> None:
    assert await schema_text(database_url) == SCHEMA.read_text(encoding="utf-8"), "run `make docs`"


async def test_no_rule_stands_in_a_trigger_over_whole_statements(
    empty_database_url: str, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await end(await begin(empty_database_url))

    triggers = await database.fetch(
        "SELECT tgname, tgoldtable, tgnewtable FROM pg_trigger WHERE NOT tgisinternal"
    )

    assert len(triggers) <= 7
    assert [row["tgname"] for row in triggers if row["tgoldtable"] or row["tgnewtable"]] == []
