"""The ingress on real PostgreSQL and Kafka: in this process, or as a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from core.messaging.kafka.topics import ensure_topics
from core.settings import DatabaseSettings, IngressSettings, KafkaSettings, load
from core.storage.pool import Pool, open_pool
from ingress import commands
from ingress.app import create_app
from ingress.auth.api_keys import Scope
from ingress.main import Opened, open_dependencies
from schemas.topics import plan_topics
from standalone.ports import HIGHEST_PORT
from standalone.processes.child_process import guarded
from tests.integration.ingress.world import (
    MakeWorld,
    SharedDatabase,
    WatchedPool,
    World,
    opened_pool,
)
from tests.servers import first_port, fresh_database

REPOSITORY = Path(__file__).parents[3]
SECRETS_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
START_TIMEOUT_S = 120  # of Python and its libraries, on a busy machine
PORT_OFFSET = 450  # away from the session's own servers


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path
) -> Callable[..., None]:
    """Sets variables, for this process and those it starts; the broker is away until said."""
    (tmp_path / "photos").mkdir()

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    monkeypatch.chdir(tmp_path)  # no .env of a developer
    change(
        DATABASE_URL=database_url,
        SECRETS_KEY=SECRETS_KEY,
        KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
        ARCHIVE_ROOTS=f"photos={tmp_path / 'photos'}",
        ARCHIVE_PUBLIC_URL="http://archive",
    )
    return change


@pytest.fixture
async def kafka(environment: Callable[..., None], kafka_bootstrap: str, topics_prefix: str) -> str:
    """A real broker with this test's own topics."""
    environment(KAFKA_BOOTSTRAP_SERVERS=kafka_bootstrap, KAFKA_TOPIC_PREFIX=topics_prefix)
    await ensure_topics(load(KafkaSettings), plan_topics())
    return kafka_bootstrap


@pytest.fixture(name="pool")
async def _pool(environment: Callable[..., None]) -> AsyncIterator[Pool]:
    """The database, beside the ingress."""
    async with open_pool(load(DatabaseSettings)) as pool:
        yield pool


@pytest.fixture
async def opened(environment: Callable[..., None]) -> AsyncIterator[Opened]:
    """The real thing; the broker is away unless the test asks for `kafka` before it."""
    async with open_dependencies(load(IngressSettings)) as everything:
        yield everything


@pytest.fixture
async def client(opened: Opened) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key for everything but administration, without a network between."""
    scopes = (Scope.UPLOAD, Scope.QUERY, Scope.READ, Scope.PATHS)
    made = await commands.create(commands.KeyRequest("alice", scopes=scopes), if_absent=False)
    assert made is not None
    transport = httpx.ASGITransport(create_app(opened.deps))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://archive", headers={"X-API-Key": made.key}
    ) as http:
        yield http


@pytest.fixture(scope="session")
async def shared_database(
    postgres_url: str, database_template: str
) -> AsyncIterator[SharedDatabase]:
    """A database for all tests on a `world`: one for each would cost more than the tests."""
    for url in fresh_database(postgres_url, f"TEMPLATE {database_template}"):
        shared = SharedDatabase(url)
        async with opened_pool(url) as pool:
            await shared.look(pool)
        yield shared


@pytest.fixture(scope="session")
async def shared_pool(shared_database: SharedDatabase) -> AsyncIterator[WatchedPool]:
    async with opened_pool(shared_database.url) as pool:
        yield pool


@pytest.fixture
async def make_world(
    shared_database: SharedDatabase, shared_pool: WatchedPool, tmp_path: Path
) -> AsyncIterator[MakeWorld]:
    """Makes worlds on the shared database, which is emptied after the test."""
    (tmp_path / "photos").mkdir(exist_ok=True)
    shared_pool.forget()
    yield MakeWorld(shared_pool, tmp_path / "photos")
    shared_pool.forget()
    await shared_database.empty(shared_pool)


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()


@dataclass
class Running:
    """An ingress process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}/readyz", verify=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(self.log.read_text())


@pytest.fixture
def start(environment: Callable[..., None], tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `python -m ingress`; what is left at the end is killed."""
    started: list[Running] = []

    def run(**variables: str) -> Running:
        port = free_port()
        log = tmp_path / f"ingress-{len(started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                guarded([sys.executable, "-m", "ingress"]),
                env={
                    **os.environ,
                    "PYTHONPATH": str(REPOSITORY),
                    "INGRESS_PORT": str(port),
                    **variables,
                },
                stdout=out,
                stderr=out,
            )
        scheme = "https" if "INGRESS_SSL_CERTFILE" in variables else "http"
        started.append(Running(process, port, log, scheme))
        started[-1].wait_until_ready()
        return started[-1]

    yield run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


def free_port() -> int:
    """A port below the ephemeral range that nobody listens on."""
    for port in range(first_port() + PORT_OFFSET, HIGHEST_PORT):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no free port")


async def client_of(opened: Opened, owner: str, *scopes: Scope) -> httpx.AsyncClient:
    """Requests with a new key of this owner."""
    made = await commands.create(commands.KeyRequest(owner, scopes=scopes), if_absent=False)
    assert made is not None
    transport = httpx.ASGITransport(create_app(opened.deps))
    return httpx.AsyncClient(
        transport=transport, base_url="http://archive", headers={"X-API-Key": made.key}
    )
