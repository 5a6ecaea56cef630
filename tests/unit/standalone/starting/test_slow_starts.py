"""Servers on a machine that is too busy: waited for while they move, and given up with a reason."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from standalone.failures import ServerFailed
from standalone.kafka import broker as broker_module
from standalone.kafka.aot import AotCache, ended_after
from standalone.kafka.broker import Broker, BrokerFiles
from standalone.kafka.membership import ALONE, Membership
from standalone.ports import PortPlan
from standalone.processes import child_process, embedded_server
from standalone.processes.child_process import ChildProcess, Command
from standalone.processes.embedded_server import LONGEST_START_S, QUIET_S, EmbeddedServer
from standalone.processes.tool import run_tool

LIMIT_S = 60
STEP_S = 50.0


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class SlowChild(ChildProcess):
    """A process that lives; each look at it takes 50 s, in which it writes so many lines."""

    def __init__(self, clock: Clock, lines: list[int], *, ready_at: int | None = None) -> None:
        super().__init__(Command(
            name="slow", argv=("slow",), log=Path("log"), environment={}, directory=Path()
        ))  # fmt: skip
        self._clock = clock
        self._left = lines
        self._ready_at = ready_at
        self.looks = 0

    @property
    def is_running(self) -> bool:
        return True

    def wait_for(self, marker: str, timeout_s: float) -> bool:
        self.looks += 1
        self._clock.now += STEP_S
        self._output.lines += self._left.pop(0) if self._left else 0
        return self.looks == self._ready_at

    def is_ready(self) -> bool:
        return self.wait_while_it_moves("ready", quiet_s=QUIET_S, longest_s=LONGEST_START_S)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(child_process, "time", clock)
    return clock


def test_a_server_that_writes_is_waited_for_ten_times_as_long_as_ever(clock: Clock) -> None:
    assert SlowChild(clock, [1] * 24, ready_at=24).is_ready()
    assert clock.now - 1000.0 == 1200.0


def test_one_that_is_silent_is_given_up(clock: Clock) -> None:
    assert not SlowChild(clock, [1, 1]).is_ready()
    assert QUIET_S < clock.now - 1000.0 - 2 * STEP_S <= QUIET_S + STEP_S


def test_one_that_writes_for_ever_is_given_up_too(clock: Clock) -> None:
    assert not SlowChild(clock, [1] * 1000).is_ready()
    assert clock.now - 1000.0 <= LONGEST_START_S + STEP_S


class NeverReady(EmbeddedServer):
    """A server that lives and never answers."""

    def _prepare(self) -> None:
        """Prepare nothing."""

    def _choose_ports(self) -> tuple[int, ...]:
        return (1,)

    def _command(self, ports: tuple[int, ...]) -> Command:
        return Command(
            name="never", argv=("sleep", "600"), log=self._folder / "log",
            environment={"PATH": "/usr/bin:/bin"}, directory=self._folder,
        )  # fmt: skip

    def _is_ready(self, child: ChildProcess, ports: tuple[int, ...]) -> bool:
        return not child.is_running


def test_a_server_that_was_not_ready_in_time_says_so(tmp_path: Path) -> None:
    """It said that it ended with exit code 143, which is how it was stopped."""
    server = NeverReady(tmp_path, subject="Never", stop_signal=signal.SIGTERM, stop_grace_s=LIMIT_S)
    with pytest.raises(ServerFailed, match=r"^Never was not ready within \d+ s and was stopped"):
        server.start()


def test_a_tool_that_takes_too_long_is_an_error_and_no_traceback() -> None:
    with pytest.raises(ServerFailed, match="sleep did not end within 0 s"):
        run_tool("sleep", ["sleep", "600"], directory=Path("/"), longest_s=0.1)


def test_no_tool_is_hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    def run(argv: Any, *, timeout: float, **_: Any) -> Any:
        limits.append(timeout)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    run_tool("initdb", ["initdb"], directory=Path("/"))
    assert limits[0] >= 1200


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def broker(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Broker:
    """A broker whose recording hangs until it is given up."""

    def hang(server: EmbeddedServer) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not server._stop_asked:
            assert time.monotonic() < deadline, "it was not given up"
            time.sleep(0.01)
        raise ServerFailed("Kafka ended with exit code -9:\n" + "[warning][aot] Skipping\n" * 29)

    monkeypatch.setattr(embedded_server.EmbeddedServer, "_launch", hang)
    monkeypatch.setattr(broker_module, "fetch_jars", lambda *_: ())
    monkeypatch.setattr(broker_module, "RECORDING_S", 0.2)
    files = BrokerFiles(tmp_path / "logs" / "kafka.log", tmp_path / "cache")
    (tmp_path / "kafka").mkdir()
    place = Membership(tmp_path, ALONE, wanted_port=20_000, plan=PortPlan())
    return Broker(place, 1, files, say=said.append)


def test_a_recording_is_given_up_soon_in_one_line_and_not_tried_again(
    broker: Broker, said: list[str], tmp_path: Path
) -> None:
    broker._prepare()
    broker._prepare()  # as after a start that failed

    assert len(said) == 2
    assert said[0] == "preparing Apache Kafka for quick starts, once …"
    assert said[1].startswith("it was not prepared, which is not needed: it took over ")
    assert str(tmp_path / "logs" / "kafka-recording.log") in said[1]
    assert "\n" not in said[1]
    assert list((tmp_path / "kafka").glob("recording-*")) == []


def test_what_is_done_in_time_is_not_given_up() -> None:
    given_up: list[str] = []
    with ended_after(LIMIT_S, lambda: given_up.append("it")):
        pass
    assert given_up == []


def test_what_a_failed_recording_left_is_deleted(tmp_path: Path) -> None:
    cache = AotCache(tmp_path, ("java",), ())
    (option,) = cache.recording_options()
    left = Path(option.partition("=")[2])
    left.write_bytes(b"half")
    left.with_name(f"{left.name}.config").write_bytes(b"half")

    cache.discard()

    assert list(tmp_path.iterdir()) == []
