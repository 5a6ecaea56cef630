"""One process that is kept up: started, waited for, and started again after its end."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import psutil

from core.errors import ConfigurationError, PhotoTaggerError
from standalone.processes.policy import (
    LONGEST_DELAY_S,
    NoRestart,
    ProcessEnd,
    Restart,
    decide,
)

JOIN_TIMEOUT_S = 90.0  # longer than any clean stop; then the thread ends with our process
STOP_AGAIN_S = 0.1  # a start that was under way at the stop is stopped soon after it
PREPARING_S = 0.5  # a download or the creation of data is not waited for: it ends with us


class Runnable(Protocol):
    """A process that can be started again and again."""

    @property
    def pid(self) -> int:
        """The process id; 0 when it never ran."""

    def start(self) -> None:
        """Start it; return when it is ready."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; return the exit code, or None when time ran out."""

    def stop(self) -> None:
        """Stop it cleanly; do nothing when it does not run."""

    def kill(self) -> None:
        """Kill it; do nothing when it does not run."""

    def tail(self) -> str:
        """Return the last lines of its output."""

    def obstacle(self) -> str:
        """Return, after its end, why another start cannot help; empty where it may help."""


class Status(StrEnum):
    """The state of a supervised process."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"  # for its restart
    FAILED = "failed"  # it is not started again
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One line of the supervisor's table.

    Attributes:
        name: tagging-0, kafka, …
        status: its state.
        pid: the process id; 0 when it does not run.
        restarts: how often it was started again.
        memory_bytes: resident memory, that of its children included. Shared pages count once
            where the system can tell them.
        problem: why it waits or failed.
    """

    name: str
    status: Status
    pid: int
    restarts: int
    memory_bytes: int
    problem: str = ""


class SupervisedProcess:
    """Keeps one process up, from a thread of its own, until it is stopped.

    Args:
        name: its name, for messages.
        process: the process to run.
        say: is called with each message for the person at the terminal.
        failed: is called with the reason when the process is not started again.
        longest_delay_s: between its restarts.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        name: str,
        process: Runnable,
        *,
        say: Callable[[str], None],
        failed: Callable[[str], None] = lambda _: None,
        longest_delay_s: float = LONGEST_DELAY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._process = process
        self._say = say
        self._failed = failed
        self._longest_delay_s = longest_delay_s
        self._clock = clock
        self._changed = threading.Condition()
        self._status = Status.STOPPED
        self._problem = ""
        self._starts = 0
        self._failures = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-supervisor", daemon=True)

    def start(self) -> None:
        """Begin; return at once."""
        self._set(Status.STARTING)
        self._thread.start()

    def wait_until_up(self) -> None:
        """Wait until it is up for the first time.

        Raises:
            ConfigurationError: it failed and is not started again; the message says why.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._status in {Status.RUNNING, Status.FAILED, Status.STOPPED}
            )
            if self._status is not Status.RUNNING:
                raise ConfigurationError(self._problem or f"{self.name} was stopped")

    @property
    def status(self) -> Status:
        """Its present status, without a look at its memory."""
        return self._status

    @property
    def failures(self) -> int:
        """How often in a row it has failed, to start or to stay up."""
        return self._failures

    def state(self) -> ProcessState:
        """Return its present state."""
        with self._changed:
            status, problem, starts = self._status, self._problem, self._starts
        pid = self._process.pid if status is Status.RUNNING else 0
        return ProcessState(self.name, status, pid, max(starts - 1, 0), memory_bytes(pid), problem)

    def request_stop(self) -> None:
        """Stop it and do not start it again; return when the process has ended.

        The start may be at any point in its thread: a stop that comes just before the process
        exists finds nothing to stop, so it is repeated until the thread has ended.
        """
        self._stopping.set()
        if self._thread.ident is None:
            return
        began = self._clock()
        while self._thread.is_alive():
            self._process.stop()
            self._thread.join(STOP_AGAIN_S)
            limit_s = JOIN_TIMEOUT_S if self._process.pid else PREPARING_S
            if self._clock() - began > limit_s:
                return

    def kill(self) -> None:
        """Kill it and do not start it again."""
        self._stopping.set()
        self._process.kill()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                ended = self._run_once()
                if ended is None or self._stopping.is_set():
                    break
                decision = decide(self._failures, ended, longest_delay_s=self._longest_delay_s)
                if isinstance(decision, Restart):
                    self._failures = decision.failures
                self._report(ended, decision)
                if isinstance(decision, NoRestart):
                    self._failed(self._problem)
                    return
                self._stopping.wait(decision.delay_s)
        except BaseException as error:
            # A bug: the thread prints its traceback, and those who wait for us must hear of it too.
            self._set(Status.FAILED, f"{self.name}: {type(error).__name__}: {error}")
            self._failed(self._problem)
            raise
        finally:
            # This ends a start that was under way when the stop was asked for.
            self._process.stop()
            if self._status is not Status.FAILED:
                self._set(Status.STOPPED)

    def _run_once(self) -> ProcessEnd | None:
        """Start it and wait for its end; return how it ended, or None if it was stopped."""
        self._set(Status.STARTING, self._problem)
        self._starts += 1
        started = self._clock()
        try:
            self._process.start()
        except ConfigurationError as error:
            return ProcessEnd(None, 0.0, obstacle=str(error))
        except PhotoTaggerError as error:
            self._problem = str(error)
            return ProcessEnd(None, 0.0)
        if self._stopping.is_set():
            return None
        self._set(Status.RUNNING)
        exit_code = self._process.wait()
        return ProcessEnd(exit_code, self._clock() - started, self._process.obstacle())

    def _report(self, ended: ProcessEnd, decision: Restart | NoRestart) -> None:
        how = (
            f"{self.name} could not be started"
            if ended.exit_code is None
            else f"{self.name} {_manner(ended.exit_code)} after {ended.ran_s:.1f} s"
        )
        words = self._process.tail() if ended.exit_code is not None else self._problem
        if ended.exit_code is None and not ended.obstacle and words:
            how += f" ({words.splitlines()[0].removesuffix(':')})"
        if isinstance(decision, NoRestart):
            last = "" if ended.obstacle else f"\n{_indented(words)}"
            self._set(Status.FAILED, f"{how} and is not started again: {decision.reason}{last}")
            self._say(self._problem)
        elif decision.is_loop:
            self._set(Status.WAITING, f"{how}: {decision.failures} failures in a row")
            if decision.is_news:
                self._say(
                    f"{self._problem}; next try in {decision.delay_s:.0f} s. Its last lines:\n"
                    f"{_indented(words)}"
                )
        else:
            self._set(Status.WAITING, how)
            self._say(f"{how}; started again")

    def _set(self, status: Status, problem: str = "") -> None:
        with self._changed:
            self._status = status
            self._problem = problem
            self._changed.notify_all()


def _manner(exit_code: int) -> str:
    return f"was ended by signal {-exit_code}" if exit_code < 0 else f"ended with code {exit_code}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def memory_bytes(pid: int) -> int:
    """Return the memory of a process and its children in bytes; 0 where there is none."""
    if not pid:
        return 0
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for part in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += _memory_of(part)
    return total


def _memory_of(process: psutil.Process) -> int:
    """Return the proportional share where the system tells it: PostgreSQL shares buffers."""
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    return int(getattr(full, "pss", full.rss))
