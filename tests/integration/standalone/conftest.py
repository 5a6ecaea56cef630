"""Homes for servers of a test's own."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from standalone.environment import cache_directory
from standalone.kafka.broker import EmbeddedKafka
from standalone.postgres.server import EmbeddedPostgres
from tests.servers import first_port, make_home

PORT_OFFSET = 280  # away from the session's own servers


@pytest.fixture
def empty_home() -> Iterator[Path]:
    """A new folder: the first start in it makes everything."""
    folder = make_home("faults")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def made_home() -> Iterator[Path]:
    """A folder in which both servers were started once and stopped: to be copied, not used."""
    folder = make_home("made")
    port = first_port() + PORT_OFFSET
    for server in (
        EmbeddedPostgres(folder, port),
        EmbeddedKafka(folder, cache_directory(folder), port + 1),
    ):
        server.start()
        server.stop()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(made_home: Path) -> Iterator[Path]:
    """A home of one's own whose servers start fast: their data is made already."""
    folder = make_home("faults")
    shutil.rmtree(made_home / "logs", ignore_errors=True)
    subprocess.run(["cp", "-a", f"{made_home}/.", str(folder)], check=True)  # with owners
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
