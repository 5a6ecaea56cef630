"""deploy/ for an archive on one machine: a unit of systemd, and what Prometheus scrapes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs would be one more dependency

from core.settings import StandaloneSettings
from standalone.supervision.roles import all_roles
from tests.documents import ROOT
from tests.promql import PROMTOOL

UNIT = ROOT / "deploy" / "systemd" / "photo-archive.service"
PROMETHEUS = ROOT / "deploy" / "prometheus"
COMMAND = "/opt/photo-archive/.venv/bin/photo-archive"
VERIFY = shutil.which("systemd-analyze")


@pytest.mark.skipif(VERIFY is None, reason="no systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """But for its user and its command, which are not on this machine."""
    text = UNIT.read_text(encoding="utf-8")
    assert COMMAND in text
    copied = tmp_path / UNIT.name
    copied.write_text(text.replace(COMMAND, sys.executable).replace("User=photos\n", ""))

    done = subprocess.run(
        [str(VERIFY), "verify", "--man=no", str(copied)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    mine = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, mine) == (0, []), done.stderr


def test_a_wrong_setting_is_not_started_again_for_ever() -> None:
    lines = UNIT.read_text(encoding="utf-8").splitlines()

    assert "RestartPreventExitStatus=2" in lines
    assert "KillMode=mixed" in lines, "the supervisor alone is told to stop; it stops the others"


def test_prometheus_scrapes_one_machine_by_the_jobs_and_ports_that_it_has() -> None:
    mine, composed = (
        {
            job["job_name"]: job.get("static_configs", [{}])[0].get("targets")
            for job in yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))[
                "scrape_configs"
            ]
        }
        for name in ("one-machine.yml", "prometheus.yml")
    )
    standing = StandaloneSettings()
    roles = [one for one in all_roles(standing.tagging_processes, None) if one.serves_metrics]

    assert mine.keys() == composed.keys(), "the alarms name jobs"
    assert mine["ingress"] == [f"127.0.0.1:{standing.ingress_port}"]
    assert mine["roles"] == [
        f"127.0.0.1:{standing.metrics_port + number}" for number in range(len(roles))
    ]


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool")
def test_prometheus_takes_its_configuration() -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "config", "one-machine.yml"],
        cwd=PROMETHEUS, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
