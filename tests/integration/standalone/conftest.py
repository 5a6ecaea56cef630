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
    """Return a new folder, in which the first start creates everything."""
    folder = make_home("faults")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def made_home() -> Iterator[Path]:
    """Return a folder in which both servers were started once; tests copy it."""
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
    """Return a home of the test's own whose servers start fast, since their data exists."""
    folder = make_home("faults")
    shutil.rmtree(made_home / "logs", ignore_errors=True)
    subprocess.run(["cp", "-a", f"{made_home}/.", str(folder)], check=True)  # with owners
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
