"""A setting that cannot be used: one line with its name, no secret, from processes and commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import COMMAND
from tests.servers import REPOSITORY

DATABASE = ("DATABASE_URL", "postgresql://app:S3cr#tPW@h/db")
KAFKA = ("KAFKA_BOOTSTRAP_SERVERS", "app:S3crtPW@h:abc")
PROXY = ("EGRESS_PROXY", "http://app:S3cr#tPW@h:80")
TRACES = ("TELEMETRY_OTLP_ENDPOINT", "https://app:S3cr#tPW@h")
PYTHON = (sys.executable, "-m")
STARTS = {
    "ingress, database": ((*PYTHON, "ingress"), DATABASE),
    "ingress, broker": ((*PYTHON, "ingress"), KAFKA),
    "ingress, proxy": ((*PYTHON, "ingress"), PROXY),
    "query, database": ((*PYTHON, "consumers", "query"), DATABASE),
    "query, broker": ((*PYTHON, "consumers", "query"), KAFKA),
    "delivery, proxy": ((*PYTHON, "consumers", "delivery"), PROXY),
    "delivery, traces": ((*PYTHON, "consumers", "delivery"), TRACES),
    "jobs, database": ((*PYTHON, "producers", "jobs"), DATABASE),
    "jobs, broker": ((*PYTHON, "producers", "jobs"), KAFKA),
    "migrations, database": ((*PYTHON, "migrations"), DATABASE),
    "alembic, database": ((*PYTHON, "alembic", "upgrade", "head"), DATABASE),
    "keys, database": ((COMMAND, "keys", "list"), DATABASE),
    "migrate, database": ((COMMAND, "migrate"), DATABASE),
    "images, broker": ((COMMAND, "images", "--root", f"here={REPOSITORY}", "."), KAFKA),
    "letters, database": ((COMMAND, "letters", "list"), DATABASE),
}


@pytest.mark.parametrize("start", STARTS)
def test_a_setting_that_cannot_be_used_is_one_line_without_its_secret(start: str) -> None:
    command, (variable, value) = STARTS[start]
    needed = {"SECRETS_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}

    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | needed | {variable: value},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert done.returncode == 2 or "alembic" in start, told
    assert f"{variable}: " in told
    words = [line for line in told.splitlines() if not line.startswith("{")]  # less the log
    assert len(words) == 1, told
    assert "S3cr" not in told
    assert "tPW" not in told


def test_a_certificate_that_is_not_there_is_told(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.pem")
    done = subprocess.run(
        (*PYTHON, "ingress"),
        cwd=REPOSITORY,
        env=os.environ | {"INGRESS_SSL_CERTFILE": missing, "INGRESS_SSL_KEYFILE": missing},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"configuration: INGRESS_SSL_CERTFILE: {missing}: " in line
