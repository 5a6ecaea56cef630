"""Keeping one process running; the process is a double with scripted ends."""

import threading

import pytest

from core.errors import ConfigurationError, TransientError
from standalone.processes.supervised_process import Status, SupervisedProcess

NOBODY = 2**30  # above the greatest process id


class ScriptedProcess:
    """A process that ends as scripted, by an exit code or an error at start, then runs."""

    def __init__(self, *ends: int | Exception, obstacle: str = "") -> None:
        self.pid = 0
        self.starts = 0
        self.stops = 0
        self._ends = list(ends)
        self._obstacle = obstacle
        self._stopped = threading.Event()

    def start(self) -> None:
        self.starts += 1
        self.pid = NOBODY
        if self._ends and isinstance(self._ends[0], Exception):
            raise self._ends.pop(0)  # type: ignore[misc]  # checked in the line above

    def wait(self, timeout_s: float | None = None) -> int | None:
        if self._ends:
            return self._ends.pop(0)  # type: ignore[return-value]  # an error was raised by start
        self._stopped.wait(timeout_s)
        return 0

    def stop(self) -> None:
        self.stops += 1
        self._stopped.set()

    def kill(self) -> None:
        self._stopped.set()

    def tail(self) -> str:
        return "last words"

    def obstacle(self) -> str:
        return self._obstacle


class Told:
    """Collects messages and lets a test wait for the end of a keeper."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.reason = ""
        self.failed = threading.Event()

    def say(self, message: str) -> None:
        self.messages.append(message)

    def fail(self, reason: str) -> None:
        self.reason = reason
        self.failed.set()


def keep(process: ScriptedProcess, told: Told) -> SupervisedProcess:
    keeper = SupervisedProcess("role", process, say=told.say, failed=told.fail)
    keeper.start()
    return keeper


def test_a_wrong_setting_ends_it_with_its_last_words_and_no_second_start() -> None:
    process, told = ScriptedProcess(2), Told()
    keeper = keep(process, told)
    assert told.failed.wait(5)
    assert process.starts == 1
    assert "last words" in told.reason
    assert keeper.state().status is Status.FAILED
    keeper.request_stop()
    assert keeper.state().status is Status.FAILED


def test_an_obstacle_found_after_its_end_is_the_reason() -> None:
    process, told = ScriptedProcess(1, obstacle="no space left"), Told()
    keep(process, told)
    assert told.failed.wait(5)
    assert process.starts == 1
    assert "no space left" in told.reason


def test_a_start_that_cannot_work_here_is_told_to_whom_waits_for_it() -> None:
    keeper = keep(ScriptedProcess(ConfigurationError("no such port")), Told())
    with pytest.raises(ConfigurationError, match="no such port"):
        keeper.wait_until_up()


def test_a_start_that_failed_for_now_is_tried_again() -> None:
    process, told = ScriptedProcess(TransientError("busy")), Told()
    keeper = keep(process, told)
    keeper.wait_until_up()
    state = keeper.state()
    keeper.request_stop()
    assert (process.starts, state.restarts, state.status) == (2, 1, Status.RUNNING)
    assert keeper.state().status is Status.STOPPED


def test_why_a_start_failed_is_said_in_one_line() -> None:
    error = TransientError("Kafka was not ready within 300 s and was stopped:\nits last words")
    process, told = ScriptedProcess(error), Told()
    keeper = keep(process, told)
    keeper.wait_until_up()
    keeper.request_stop()
    why = "role could not be started (Kafka was not ready within 300 s and was stopped)"
    assert told.messages == [f"{why}; started again"]


def test_a_stop_is_no_crash() -> None:
    process, told = ScriptedProcess(), Told()
    keeper = keep(process, told)
    keeper.wait_until_up()
    keeper.request_stop()
    assert process.starts == 1
    assert told.messages == []


def test_a_bug_in_a_start_leaves_nobody_waiting_and_shows_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, told = threading.Event(), Told()
    monkeypatch.setattr(threading, "excepthook", lambda arguments: shown.set())
    keeper = keep(ScriptedProcess(RuntimeError("a bug")), told)
    with pytest.raises(ConfigurationError, match="RuntimeError: a bug"):
        keeper.wait_until_up()
    assert told.failed.wait(5)
    assert shown.wait(5)


class SlowToStart(ScriptedProcess):
    """A process that comes to be only after a stop has looked for it."""

    def __init__(self) -> None:
        super().__init__()
        self.may_exist = threading.Event()
        self.exists = False

    def start(self) -> None:
        self.starts += 1
        assert self.may_exist.wait(10)
        self.pid = NOBODY
        self.exists = True

    def stop(self) -> None:
        self.stops += 1
        self.may_exist.set()
        if self.exists and self.stops > 1:
            self._stopped.set()

    def wait(self, timeout_s: float | None = None) -> int | None:
        return 0 if self._stopped.wait(timeout_s) else None


def test_a_process_that_comes_to_be_during_its_stop_is_stopped_too() -> None:
    process, told = SlowToStart(), Told()
    keeper = keep(process, told)
    keeper.request_stop()
    assert process.exists
    assert keeper.state().status is Status.STOPPED
    assert not keeper._thread.is_alive()
