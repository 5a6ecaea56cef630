"""Real servers for tests, started once per session when a test first needs one.

They are the embedded ones (`standalone`), on free loopback ports, in a temporary home. They end
with the test process, even when it is killed. Other servers may be used instead:
`TEST_KAFKA=host:port`, `TEST_POSTGRES_URL=postgresql://…` (a role that may create databases).
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
import zlib
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from core.messaging.kafka.connection import login_options
from core.settings import KafkaSettings
from standalone.environment import cache_directory
from standalone.kafka.broker import EmbeddedKafka
from standalone.kafka.cluster import EmbeddedCluster
from standalone.postgres.server import EmbeddedPostgres
from standalone.processes.locking import is_alive

REPOSITORY = Path(__file__).parents[1]
FIRST_PORT = 20_000  # below the ephemeral range, above the standalone mode's own
RANGES = 24  # of 500 ports: one per worker; two runs side by side may share one
RANGE_PORTS = 500
ADDRESS = "KAFKA_BOOTSTRAP_SERVERS"
PORTS_PER_SESSION = 8  # ports that one set of servers and roles uses
MIGRATION_TIMEOUT_S = 300  # a few seconds on a quiet machine; all cores may be taken

T = TypeVar("T")


def first_port() -> int:
    """Return the first port to try; each worker of this run has a range of its own.

    Seconds pass between the choice of a port and its server's listening. Workers that searched the
    same range would choose the same port meanwhile.
    """
    told = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    run = zlib.crc32(told.encode()) if told else os.getpid()
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return FIRST_PORT + (run + worker) % RANGES * RANGE_PORTS


def make_home(name: str) -> Path:
    """Return a new folder that other users may enter, since PostgreSQL does not run as root.

    Folders of killed test processes are removed as well.
    """
    parent = Path(tempfile.gettempdir()) / f"photo-archive-tests-{os.getuid()}"
    parent.mkdir(mode=0o755, exist_ok=True)
    if parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{parent} belongs to somebody else")
    for old in parent.iterdir():
        pid = old.name.partition("-")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    home = parent / f"{os.getpid()}-{name}-{uuid.uuid4().hex[:6]}"
    home.mkdir(mode=0o755)
    return home


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run in a new event loop in another thread, so that the caller may have one too."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


async def execute(url: str, *statements: str) -> None:
    """Run statements one by one, outside a transaction."""
    connection = await asyncpg.connect(url, timeout=30)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def drop_database(url: str, name: str) -> None:
    """Drop a database that tests made, with any sessions that are still connected.

    `WITH (FORCE)` would also terminate an autovacuum worker, for which the tests' role lacks the
    privilege. A plain drop makes that worker stop and waits for it.
    """
    run_apart(
        execute(
            url,
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{name}' AND usename = current_user",
            f"DROP DATABASE {name}",
        )
    )


def at_database(url: str, name: str) -> str:
    """Return the URL of another database with the same server and role."""
    return f"{url.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """Start PostgreSQL with pgvector. Tests that kill a server start their own."""
    home = make_home("postgres")
    server = EmbeddedPostgres(home, first_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[EmbeddedKafka]:
    """Start Apache Kafka. Tests that kill a broker start their own."""
    home = make_home("kafka")
    port = first_port() + PORTS_PER_SESSION // 2
    server = EmbeddedKafka(home, cache_directory(home), port)
    server.start()
    # From here `KafkaSettings` and the processes of tests have the login.
    login = {name: value for name, value in server.environment.items() if name != ADDRESS}
    os.environ.update(login)
    try:
        yield server
    finally:
        for name in login:
            del os.environ[name]
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def kafka_login(kafka: KafkaSettings | None = None) -> dict[str, Any]:
    """Return the arguments by which a plain Kafka client logs in; None: at the session's broker."""
    return login_options(kafka or KafkaSettings())


def settings_of(server: EmbeddedKafka | EmbeddedCluster, **more: Any) -> KafkaSettings:
    """Return the settings that lead to a broker, or brokers, of a test's own."""
    given = server.environment
    return KafkaSettings(
        bootstrap_servers=server.bootstrap,
        security_protocol=given["KAFKA_SECURITY_PROTOCOL"],
        sasl_mechanism=given["KAFKA_SASL_MECHANISM"],
        sasl_username=given["KAFKA_SASL_USERNAME"],
        sasl_password=given["KAFKA_SASL_PASSWORD"],
        **more,
    )


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> str:
    """Return `host:port` of a real broker. It has no topics but those that tests make."""
    outside = os.environ.get("TEST_KAFKA")
    return outside or str(request.getfixturevalue("kafka_server").bootstrap)


@pytest.fixture
def topics_prefix() -> str:
    """Return a prefix for the test's topics and groups, so that tests are independent."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """Return the DSN of a role that may create databases."""
    outside = os.environ.get("TEST_POSTGRES_URL")
    return outside or str(request.getfixturevalue("postgres_server").url)


@pytest.fixture(scope="session")
def database_template(postgres_url: str) -> Iterator[str]:
    """Return the name of a database with the newest schema, which tests never write to."""
    name = f"template_{uuid.uuid4().hex[:10]}"
    run_apart(execute(postgres_url, f"CREATE DATABASE {name}"))
    try:
        migrate(at_database(postgres_url, name))
        yield name
    finally:
        drop_database(postgres_url, name)


def migrate(url: str) -> None:
    """Migrate a database to the newest schema, as an operator would."""
    done = subprocess.run(
        [sys.executable, "-m", "migrations", "schema"],
        cwd=REPOSITORY,
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=MIGRATION_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"python -m migrations schema: {done.stdout}{done.stderr}")


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """Yield the DSN of a fresh database without tables; drop it after the test."""
    yield from fresh_database(postgres_url, "")


@pytest.fixture
def database_url(postgres_url: str, database_template: str) -> Iterator[str]:
    """Yield the DSN of a fresh database with the newest schema; drop it after the test."""
    yield from fresh_database(postgres_url, f"TEMPLATE {database_template}")


def fresh_database(server: str, options: str) -> Iterator[str]:
    """Yield the DSN of a new database, dropped at the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    run_apart(execute(server, f"CREATE DATABASE {name} {options}"))
    try:
        yield at_database(server, name)
    finally:
        drop_database(server, name)
