"""Three brokers under the supervisor: each is kept up, and they end with all else."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.standalone.driver import BROKERS
from tests.integration.standalone.test_supervisor import SLEEPER, Driven
from tests.integration.standalone.waiting import is_gone, until

NAMES = ("kafka-1", "kafka-2", "kafka-3")
BACK_S = 180.0  # the session of the dead one, an election, recovery; a busy machine


@contextmanager
def driven(home: Path) -> Iterator[Driven]:
    supervisor = Driven(home, sleeper=SLEEPER)
    try:
        yield supervisor
    finally:
        if supervisor.process.poll() is None:
            supervisor.process.kill()
        supervisor.process.communicate()


@pytest.fixture
def running(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driven]:
    monkeypatch.setenv(BROKERS, "3")
    with driven(empty_home) as supervisor:
        yield supervisor


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


def overwrite(home: Path, number: int) -> None:
    """Make a broker's data that of another cluster: its process ends at each start."""
    (home / "kafka" / str(number) / "data" / "meta.properties").write_text(
        "version=1\ncluster.id=AnotherClusterAltogether\nnode.id=9\n"
    )


@pytest.mark.timeout(900)
def test_a_later_start_does_without_one_unusable_broker_and_is_refused_with_two(
    running: Driven, empty_home: Path
) -> None:
    running.read_until("up")
    assert running.stop() == 0
    overwrite(empty_home, 3)

    with driven(empty_home) as one_less:
        up = one_less.read_until("up")
        assert len(set(up["kafka"].split(","))) == len(NAMES), "it may come back"
        assert one_less.said("Kafka goes on without kafka-3")
        states = one_less.states()
        assert [states[name]["status"] for name in NAMES[:2]] == ["running", "running"]
        assert one_less.stop() == 0

    overwrite(empty_home, 2)
    with driven(empty_home) as two_less:
        refused = two_less.read_until("refused")
        assert "kafka-2 could not be started" in refused
        assert "kafka-3 could not be started" in refused
        assert two_less.process.wait(60) == 2


@pytest.mark.timeout(300)
def test_a_start_whose_brokers_have_failed_for_good_does_not_wait_for_the_one_that_is_left(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone it elects nobody, so it never comes up."""
    monkeypatch.setenv(BROKERS, "3")
    (empty_home / "kafka").mkdir(mode=0o700)
    for number in ("2", "3"):
        (empty_home / "kafka" / number).touch()  # no folder

    with driven(empty_home) as refused:
        said = refused.read_until("refused")
        assert "cannot work in" in said
        assert refused.process.wait(60) == 2
