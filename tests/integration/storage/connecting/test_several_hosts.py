"""An address with several hosts: the one that takes writes is used, whichever it is."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from core.errors import DatabaseAway
from core.settings import DatabaseSettings
from core.storage.pool import Pool, open_pool
from standalone.postgres.server import EmbeddedPostgres
from tests.servers import execute, first_port, make_home
from tests.standby import Standby, caught_up, following

ROOT = Path(__file__).parents[3]
WRITE = "INSERT INTO outbox_places VALUES ($1, 't', 1, 1)"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[EmbeddedPostgres, Standby]]:
    """Yield a primary and its standby; the last test kills the primary."""
    home = make_home("primary")
    primary = EmbeddedPostgres(home, first_port() + 410)
    primary.start()
    try:
        with following(primary) as standby:
            yield primary, standby
    finally:
        primary.stop()
        shutil.rmtree(home, ignore_errors=True)


def settings_of(url: str, *ports: int) -> DatabaseSettings:
    """Return settings whose address is the URL's with these ports, all on this machine."""
    parts = urlsplit(url)
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    login = f"{parts.username}:{parts.password}"
    return DatabaseSettings(url=SecretStr(f"postgresql://{login}@{hosts}{parts.path}"))


def test_migrations_take_the_host_that_takes_writes(
    pair: tuple[EmbeddedPostgres, Standby],
) -> None:
    primary, standby = pair
    url = settings_of(primary.url, standby.port, primary.port).url.get_secret_value()
    done = subprocess.run(
        [sys.executable, "-m", "migrations", "schema"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr


async def test_a_standby_alone_is_an_outage_that_is_told(
    pair: tuple[EmbeddedPostgres, Standby],
) -> None:
    primary, standby = pair
    async with open_pool(settings_of(primary.url, standby.port)) as pool:
        for _ in range(2):
            with pytest.raises(DatabaseAway, match="takes no writes"):
                await pool.fetchval("SELECT 1")


async def test_the_same_pool_goes_on_with_the_promoted_standby(
    pair: tuple[EmbeddedPostgres, Standby],
) -> None:
    primary, standby = pair
    async with open_pool(settings_of(primary.url, standby.port, primary.port)) as pool:
        await pool.execute(WRITE, 1)
        await caught_up(primary, standby)
        primary.kill()
        with pytest.raises(DatabaseAway):
            await pool.execute(WRITE, 2)

        began = time.monotonic()
        await standby.promote()
        await once_it_works(pool, 3)

        print(f"promoted and written after {time.monotonic() - began:.2f} s")  # noqa: T201
        rows = await pool.fetch("SELECT outbox_id FROM outbox_places ORDER BY 1")
        assert [row[0] for row in rows] == [1, 3]


async def once_it_works(pool: Pool, number: int) -> None:
    """Write as soon as a server takes it."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await _written(pool, number)
            except DatabaseAway:
                await asyncio.sleep(0.05)


async def _written(pool: Pool, number: int) -> None:
    await pool.execute(WRITE, number)


async def test_a_host_that_never_answers_leaves_time_for_the_next(database_url: str) -> None:
    """A machine without power refuses nothing: asyncpg alone would wait for it until the end."""
    port = urlsplit(database_url).port or 5432
    async with silent() as dead, open_pool(settings_of(database_url, dead, port)) as pool:
        assert await pool.fetchval("SELECT 1") == 1

        # The next connection begins with the host that served.
        began = time.monotonic()
        async with pool.connection(), pool.connection() as second:
            assert await second.fetchval("SELECT 1") == 1
        assert time.monotonic() - began < 2.4, "half of the five seconds were spent on the dead"


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """Yield the port of a server that takes connections and says nothing."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_server_that_was_closed_to_writes_is_tried_again(database_url: str) -> None:
    name = urlsplit(database_url).path[1:]
    closed = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    opened = "SET default_transaction_read_only = off"
    await execute(database_url, closed)
    async with open_pool(DatabaseSettings(url=SecretStr(database_url))) as pool:
        with pytest.raises(DatabaseAway, match="takes no writes"):
            await pool.execute(WRITE, 1)

        await execute(
            database_url, opened, f"ALTER DATABASE {name} RESET default_transaction_read_only"
        )

        await pool.execute(WRITE, 1)
