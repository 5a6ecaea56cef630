"""Processes that load before their servers are up, and that are told to stop while they load."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from core.starting import HELD, LOADED
from tests.integration.standalone.waiting import until

ROOT = Path(__file__).parents[2]
LOADING_S = 300.0  # torch from a cold disk, on a busy machine
#: Nothing is asked of a server, so none is there.
ROLES = (
    ("ingress",),
    ("consumers", "tagging"),
    ("consumers", "query"),
    ("consumers", "delivery"),
    ("producers", "jobs"),
    ("migrations",),
)
IDS = [" ".join(role) for role in ROLES]


@contextmanager
def started(*arguments: str, folder: Path, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a process of the project without the addresses of servers; kill it at the end."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DATABASE_", "KAFKA_"))
    } | {
        "SECRETS_KEY": "k" * 43 + "=",
        "TAGGING_MODEL": "demo",
        "INGRESS_PORT": "21",  # it may not be used before the process is released
        "TELEMETRY_METRICS_PORT": "0",
        "ARCHIVE_ROOTS": f"photos={folder}",
        "PYTHONPATH": str(ROOT),
        **variables,
    }
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,  # no .env of a developer
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def has_loaded(folder: Path) -> bool:
    return LOADED in (folder / "log").read_text().splitlines()


@pytest.mark.parametrize("role", ROLES, ids=IDS)
def test_a_held_process_loads_touches_no_server_and_ends_at_once_when_told(
    role: tuple[str, ...], tmp_path: Path
) -> None:
    with started(*role, HELD, folder=tmp_path) as process:
        until(lambda: has_loaded(tmp_path) or process.poll() is not None, "it loads", LOADING_S)
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert psutil.Process(process.pid).net_connections() == []
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("role", ROLES, ids=IDS)
def test_a_held_process_ends_when_whoever_holds_it_is_gone(
    role: tuple[str, ...], tmp_path: Path
) -> None:
    with started(*role, HELD, folder=tmp_path) as process:
        until(lambda: has_loaded(tmp_path) or process.poll() is not None, "it loads", LOADING_S)
        assert process.stdin is not None
        process.stdin.close()

        assert process.wait(60) == 1
        assert "standard input ended" in (tmp_path / "log").read_text()
        assert "Traceback" not in (tmp_path / "log").read_text()


def imports(library: str) -> Callable[[int], bool]:
    """Return whether a process has begun to import a library: it has mapped a file of it."""

    def is_importing(pid: int) -> bool:
        return any(library in each.path for each in psutil.Process(pid).memory_maps())

    return is_importing


@pytest.mark.parametrize("library", ["numpy", "torch/lib", "pydantic_core"])
def test_a_process_that_is_importing_ends_at_once_when_told(library: str, tmp_path: Path) -> None:
    is_importing = imports(library)
    with started("consumers", "tagging", HELD, folder=tmp_path) as process:
        until(lambda: is_importing(process.pid), f"it imports {library}", LOADING_S)
        assert not has_loaded(tmp_path)
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM


def test_a_released_process_uses_what_it_was_told_and_stops_in_order(tmp_path: Path) -> None:
    with started("consumers", "delivery", HELD, folder=tmp_path) as process:
        until(lambda: has_loaded(tmp_path), "it loads", LOADING_S)
        assert process.stdin is not None
        told = {
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        }
        process.stdin.write(json.dumps(told))
        process.stdin.close()
        until(lambda: "join_failed" in (tmp_path / "log").read_text(), "it tries to join")
        process.terminate()
        assert process.wait(30) == 0, (tmp_path / "log").read_text()
