"""Three brokers under the supervisor: each is kept up, and they end with all else."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.standalone.driver import BROKERS
from tests.integration.standalone.test_supervisor import SLEEPER, Driven
from tests.integration.standalone.waiting import is_gone, until

NAMES = ("kafka-1", "kafka-2", "kafka-3")
BACK_S = 180.0  # the session of the dead one, an election, recovery; a busy machine


@pytest.fixture
def running(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driven]:
    monkeypatch.setenv(BROKERS, "3")
    driven = Driven(empty_home, sleeper=SLEEPER)
    yield driven
    if driven.process.poll() is None:
        driven.process.kill()
    driven.process.communicate()


def take(address: str) -> socket.socket:
    """Listen on the port of a broker that was killed, before its next life does."""
    found: list[socket.socket] = []
    host, _, port = address.rpartition(":")

    def is_taken() -> bool:
        with contextlib.suppress(OSError):
            found.append(socket.create_server((host, int(port))))
        return bool(found)

    until(is_taken, f"{address} is free")
    return found[0]


@pytest.mark.timeout(900)
def test_a_killed_broker_of_three_comes_back_and_one_that_cannot_is_done_without(
    running: Driven, empty_home: Path
) -> None:
    up = running.read_until("up")
    addresses = up["kafka"].split(",")
    assert len(set(addresses)) == len(NAMES)
    before = running.states()
    assert [name for name in before if name.startswith("kafka")] == list(NAMES)
    os.kill(before["kafka-2"]["pid"], signal.SIGKILL)
    assert running.said("kafka-2 was ended by signal 9")

    def is_back() -> bool:
        state = running.states()["kafka-2"]
        return bool(state["status"] == "running" and state["restarts"] == 1)

    until(is_back, "it runs again", BACK_S)
    os.kill(before["kafka-3"]["pid"], signal.SIGKILL)
    with take(addresses[2]):
        said = running.said("kafka-3 could not be started and is not started again")
    assert "was taken by another process while it was down" in said

    until(lambda: running.states()["kafka-3"]["status"] == "failed", "it is given up")
    after = running.states()
    for name in ("kafka-1", "postgres", "sleeper"):
        assert after[name]["pid"] == before[name]["pid"], "nobody else was started again"
    processes = running.descendants()
    assert running.stop() == 0
    assert [process for process in processes if not is_gone(process.pid)] == []
    assert {entry.name for entry in (empty_home / "kafka").iterdir()} >= {"1", "2", "3"}
