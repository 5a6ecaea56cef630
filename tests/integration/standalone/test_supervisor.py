"""The supervisor and its death: no process remains, nothing is lost, all is reported."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from tests.integration.standalone.driver import IS_NAMED
from tests.integration.standalone.waiting import is_gone, until
from tests.servers import REPOSITORY, first_port

PORT_OFFSET = 380  # away from the session's own servers
SLEEPER = "import time; print('awake', flush=True); time.sleep(600)"

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux knows a parent-death signal"
)


class Driven:
    """A supervisor in another process, and its output."""

    def __init__(self, home: Path, **roles: str) -> None:
        module = "tests.integration.standalone.driver"
        port = str(first_port() + PORT_OFFSET)
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(home), port, json.dumps(roles)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )

    def read_until(self, kind: str, wanted: str = "") -> Any:
        """Return the content of the next line of this kind that contains the words.

        Raises:
            AssertionError: the supervisor ended before.
        """
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = json.loads(raw)
            self.lines.append(line)
            if kind in line and wanted in json.dumps(line[kind]):
                return line[kind]
        raise AssertionError(f"it ended without {kind} {wanted!r}: {self.lines[-5:]}")

    def said(self, words: str) -> str:
        """Return the first past or next message that contains the words."""
        for line in self.lines:
            if words in line.get("said", ""):
                return str(line["said"])
        return str(self.read_until("said", words))

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the next report of states, by name."""
        return {state["name"]: state for state in self.read_until("states")}

    def descendants(self) -> list[psutil.Process]:
        """Return all its descendant processes."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def has_child(self, program: str) -> bool:
        """Return whether one of its processes runs this program."""
        for process in self.descendants():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith(program):
                    return True
        return False

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 60) -> int:
        """Signal it; return its exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=timeout_s)
        return self.process.returncode


@pytest.fixture
def running(home: Path) -> Iterator[Driven]:
    driven = Driven(home, sleeper=SLEEPER)
    yield driven
    if driven.process.poll() is None:
        driven.process.kill()
    driven.process.communicate()


async def execute(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def test_a_stop_ends_every_process_and_the_exit_code_says_so(running: Driven) -> None:
    running.read_until("up")
    processes = running.descendants()
    assert len(processes) >= 3
    assert running.stop() == 0
    assert [process for process in processes if not is_gone(process.pid)] == []


@pytest.mark.parametrize("program", ["", "postgres", "java", "python"])
def test_a_stop_at_any_moment_of_the_start_ends_every_process_soon(
    running: Driven, program: str
) -> None:
    """The moments: nothing is there, PostgreSQL, Kafka, the first role has come to be."""
    running.read_until("begun")
    until(lambda: not program or running.has_child(program), f"there is {program}", 120)
    processes = running.descendants()
    assert running.stop() == 0
    until(lambda: all(is_gone(process.pid) for process in processes), "all have ended")


@linux_only
async def test_a_killed_supervisor_leaves_no_process_and_the_next_finds_the_data(
    running: Driven, home: Path
) -> None:
    up = running.read_until("up")
    await execute(up["url"], "CREATE TABLE kept AS SELECT 7 AS n")
    processes = running.descendants()
    running.stop(signal.SIGKILL)
    again = Driven(home, sleeper=SLEEPER)  # at once, while the old servers may still be ending
    try:
        up_again = again.read_until("up")
        assert await execute(up_again["url"], "SELECT n FROM kept") == 7
        assert [process for process in processes if not is_gone(process.pid)] == []
    finally:
        again.stop()


def test_a_second_start_is_refused_by_process_and_ports(running: Driven, home: Path) -> None:
    up = running.read_until("up")
    second = Driven(home)
    refused = second.read_until("refused")
    second.process.communicate()
    assert second.process.returncode == 2
    assert f"process {running.process.pid}" in refused
    assert up["kafka"].rpartition(":")[2] in refused
    assert running.process.poll() is None


async def test_killed_servers_come_back_on_their_ports_with_their_data(running: Driven) -> None:
    up = running.read_until("up")
    await execute(up["url"], "CREATE TABLE kept AS SELECT 7 AS n")
    before = running.states()
    for name in ("kafka", "postgres"):
        os.kill(before[name]["pid"], signal.SIGKILL)
    for name in ("kafka", "postgres"):
        assert running.said(f"{name} was ended by signal 9")

    def are_back() -> bool:
        now = running.states()
        return all(
            now[name]["status"] == "running" and now[name]["restarts"] == 1
            for name in ("kafka", "postgres")
        )

    until(are_back, "both servers run again", 60)
    after = running.states()
    assert await execute(up["url"], "SELECT n FROM kept") == 7
    assert after["sleeper"]["pid"] == before["sleeper"]["pid"]
    assert after["kafka"]["memory_bytes"] > 50_000_000


def test_a_crashed_role_is_started_again_and_its_log_kept(running: Driven, home: Path) -> None:
    running.read_until("up")
    pid = running.states()["sleeper"]["pid"]
    os.kill(pid, signal.SIGKILL)
    assert running.said("sleeper was ended by signal 9")
    until(lambda: running.states()["sleeper"]["restarts"] == 1, "it runs again")
    log = home / "logs" / "sleeper.log"
    until(lambda: log.read_text() == "awake\nawake\n", "it has logged twice")


def test_a_crash_loop_is_said_with_the_last_words(home: Path) -> None:
    driven = Driven(home, crasher="print('I cannot', flush=True); raise SystemExit(3)")
    try:
        said = driven.said("failures in a row")
        assert "crasher ended with code 3" in said
        assert "I cannot" in said
    finally:
        driven.stop()


def test_a_role_with_a_wrong_setting_is_not_started_again(home: Path) -> None:
    source = "print('QUERY_MAX_CHARS: no number', flush=True); raise SystemExit(2)"
    driven = Driven(home, wrong=source, sleeper=SLEEPER)
    try:
        said = driven.said("is not started again")
        assert "QUERY_MAX_CHARS: no number" in said
        states = driven.states()
        assert (states["wrong"]["status"], states["wrong"]["restarts"]) == ("failed", 0)
        assert states["sleeper"]["status"] == "running"
    finally:
        driven.stop()


def test_weights_that_cannot_be_had_after_all_mean_the_bundled_model(home: Path) -> None:
    source = """
import os, time
print(os.environ['TAGGING_MODEL'], flush=True)
if os.environ['TAGGING_MODEL'] != 'demo':
    raise SystemExit(2)
time.sleep(600)
"""
    driven = Driven(home, **{"tagging-0": source})
    try:
        assert driven.said("tagging-0: goes on with the bundled demo model")
        until(lambda: driven.states()["tagging-0"]["status"] == "running", "it runs")
        log = home / "logs" / "tagging-0.log"
        until(lambda: log.read_text() == "ViT-B-32\ndemo\n", "it was told to")
    finally:
        driven.stop()


def test_a_named_model_that_is_refused_ends_everything_with_its_reason(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IS_NAMED, "1")
    source = "print('configuration: TAGGING_MODEL: no such model', flush=True); raise SystemExit(2)"
    driven = Driven(home, **{"tagging-0": source, "sleeper": SLEEPER})
    assert "TAGGING_MODEL: no such model" in driven.read_until("refused")
    driven.process.communicate(timeout=60)
    assert driven.process.returncode == 2


def test_a_model_that_was_loaded_once_and_is_gone_leaves_the_others_running(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(IS_NAMED, "1")
    marker = tmp_path / "was here"
    source = f"""
import pathlib
marker = pathlib.Path({str(marker)!r})
code = 2 if marker.exists() else 1
marker.touch()
raise SystemExit(code)
"""
    driven = Driven(home, **{"tagging-0": source, "sleeper": SLEEPER})
    try:
        assert driven.said("tagging-0 ended with code 2")
        assert driven.states()["sleeper"]["status"] == "running"
    finally:
        driven.stop()


def test_roles_end_before_the_servers_that_they_write_to(home: Path) -> None:
    source = """
import asyncio, asyncpg, os, signal
stop = asyncio.Event()
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print('ready', flush=True)
    await stop.wait()
    await asyncio.sleep(1)  # a batch under way
    connection = await asyncpg.connect(os.environ['DATABASE_URL'])
    print('committed', await connection.fetchval('SELECT 1'), flush=True)
    await connection.close()
asyncio.run(main())
"""
    driven = Driven(home, worker=source)
    log = home / "logs" / "worker.log"
    driven.read_until("up")
    until(lambda: log.exists() and "ready" in log.read_text(), "the role is ready")
    assert driven.stop() == 0
    assert log.read_text() == "ready\ncommitted 1\n"


def test_a_second_signal_ends_what_will_not_stop(home: Path) -> None:
    source = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\n"
    driven = Driven(home, deaf=source + "while True: time.sleep(60)")
    driven.read_until("up")
    log = home / "logs" / "deaf.log"
    until(lambda: log.exists() and "deaf" in log.read_text(), "the role is ready")
    processes = driven.descendants()
    driven.process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        driven.process.wait(2)
    assert driven.stop(signal.SIGINT, timeout_s=20) == 0
    assert [process for process in processes if not is_gone(process.pid)] == []
