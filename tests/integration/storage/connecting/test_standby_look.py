"""What counts as a standby: a server that can take the primary's place, and nothing else."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from core.storage.standby import StandbyLook, look
from standalone.ports import HOST
from standalone.postgres.data_directory import installation
from standalone.postgres.server import SETTINGS, EmbeddedPostgres
from tests.integration.standalone.waiting import until_true
from tests.servers import first_port, make_home
from tests.standby import following

PORT_OFFSET = 430
UP_S = 60.0
STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
LOGICAL_IS_WAITED_FOR = (
    "SELECT count(*) > 0 FROM pg_stat_replication"
    " WHERE application_name = 'pg_recvlogical' AND sync_state = 'sync'"
)
STRANGER = "stranger"


class LogicalPostgres(EmbeddedPostgres):
    """A primary that lets subscribers in, and whom it waits for is for the test to say."""

    def _settings(self) -> Mapping[str, str]:
        return {**SETTINGS, "wal_level": "logical"}


@pytest.fixture(scope="module")
def primary() -> Iterator[EmbeddedPostgres]:
    home = make_home("looked-at")
    server = LogicalPostgres(home, first_port() + PORT_OFFSET)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def admin(primary: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(primary.admin_url, timeout=30)
    try:
        yield connection
    finally:
        await wait_for_whom(connection, "")
        await connection.close()


async def wait_for_whom(connection: asyncpg.Connection, names: str) -> None:
    """Set the standbys for whom commits wait; return when the server has read it."""
    await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    await connection.execute("SELECT pg_reload_conf()")

    async def is_read() -> bool:
        return bool(await connection.fetchval("SHOW synchronous_standby_names") == names)

    await until_true(is_read, f"synchronous_standby_names is {names!r}", UP_S)


@contextmanager
def streaming(primary: EmbeddedPostgres, program: str, *options: str) -> Iterator[None]:
    """Run one of PostgreSQL's own programs that stream from a server."""
    admin = urlsplit(primary.admin_url)
    argv = [str(installation() / "bin" / program), f"--host={HOST}", f"--port={admin.port}"]
    argv += [f"--username={admin.username}", "--no-password", *options]
    environment = {"PGPASSWORD": admin.password or "", "LC_ALL": "C"}
    process = subprocess.Popen(argv, env=environment, cwd="/")
    try:
        yield
    finally:
        process.kill()
        process.wait(UP_S)


async def test_a_subscriber_and_an_archive_of_the_log_are_no_standby(
    primary: EmbeddedPostgres, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    await admin.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    logical = (
        "--create-slot", "--start", "--slot=subscriber", "--plugin=pgoutput", "--dbname=postgres",
        "--option=proto_version=1", "--option=publication_names=everything", "--file=/dev/null",
        "--status-interval=1",
    )  # fmt: skip

    with ExitStack() as stack:
        stack.enter_context(streaming(primary, "pg_receivewal", f"--directory={tmp_path}"))
        stack.enter_context(streaming(primary, "pg_recvlogical", *logical))

        async def stream() -> bool:
            return bool(await admin.fetchval(STREAMING) == 2)

        await until_true(stream, "both stream", UP_S)
        assert await look(admin) == StandbyLook(is_there=False, is_waited_for=False)
        await wait_for_whom(admin, "*")

        async def is_waited_for() -> bool:
            return bool(await admin.fetchval(LOGICAL_IS_WAITED_FOR))

        await until_true(is_waited_for, "commits wait for the subscriber", UP_S)
        assert await look(admin) == StandbyLook(is_there=False, is_waited_for=False)


async def test_a_standby_is_waited_for_when_it_is_the_one_that_is_named(
    primary: EmbeddedPostgres, admin: asyncpg.Connection
) -> None:
    await admin.execute(f"CREATE ROLE {STRANGER} LOGIN PASSWORD '{STRANGER}'")
    url = f"postgresql://{STRANGER}:{STRANGER}@{HOST}:{primary.port}/postgres"
    stranger = await asyncpg.connect(url, timeout=30)

    async def is_there() -> bool:
        return (await look(admin)).is_there

    async def is_waited_for() -> bool:
        return (await look(admin)).is_waited_for

    try:
        with following(primary):
            await until_true(is_there, "it follows", UP_S)
            assert await look(stranger) == StandbyLook(is_there=True, is_waited_for=False)
            await wait_for_whom(admin, "another")
            assert await look(admin) == StandbyLook(is_there=True, is_waited_for=False)
            await wait_for_whom(admin, "walreceiver")
            await until_true(is_waited_for, "commits wait for it", UP_S)
            assert await look(stranger) == StandbyLook(is_there=True, is_waited_for=True)
    finally:
        await stranger.close()
