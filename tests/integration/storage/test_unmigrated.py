"""A database without our schema: each process ends at once with a message what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from standalone.ports import choose_port
from tests.command import COMMAND
from tests.servers import first_port

ROOT = Path(__file__).parents[3]
PROCESSES = (
    (sys.executable, "-m", "ingress"),
    (sys.executable, "-m", "consumers", "tagging"),
    (sys.executable, "-m", "consumers", "query"),
    (sys.executable, "-m", "consumers", "delivery"),
    (sys.executable, "-m", "producers", "jobs"),
    (COMMAND, "retag", "--all"),
)


@pytest.mark.parametrize("command", PROCESSES, ids=lambda command: " ".join(command[1:]))
def test_a_process_on_an_empty_database_ends_with_the_command_to_run(
    command: tuple[str, ...], empty_database_url: str, tmp_path: Path
) -> None:
    environment = os.environ | {
        "DATABASE_URL": empty_database_url,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",  # no broker, since the schema is checked first
        "SECRETS_KEY": "k" * 43 + "=",
        "TAGGING_MODEL": "demo",
        "INGRESS_PORT": str(choose_port(first_port() + 400)),
        "TELEMETRY_METRICS_PORT": "0",
        "ARCHIVE_ROOTS": f"photos={tmp_path}",
    }

    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2, done.stderr[-2000:]
    assert "run `photo-archive migrate`" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("configuration: ") <= 1, done.stderr
