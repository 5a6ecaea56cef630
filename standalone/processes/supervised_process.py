"""Keeps one process up: starts it, waits for its end, decides, starts it again."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import psutil

from core.errors import ConfigurationError, PhotoTaggerError
from standalone.processes.policy import NoRestart, ProcessEnd, Restart, decide

JOIN_TIMEOUT_S = 90.0  # longer than any grace: then the thread is left to die with us


class Runnable(Protocol):
    """A process that can be started again and again."""

    @property
    def pid(self) -> int:
        """Process id, 0 when it never ran."""

    def start(self) -> None:
        """Start it; returns when it is of use."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; the exit code, or None when time ran out."""

    def stop(self) -> None:
        """Stop it cleanly; harmless when it does not run."""

    def kill(self) -> None:
        """End it at once; harmless when it does not run."""

    def tail(self) -> str:
        """Last lines of its output."""

    def obstacle(self) -> str:
        """After its end: why another start cannot help; empty where it may."""


class Status(StrEnum):
    """Where a process stands."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"  # for its restart
    FAILED = "failed"  # for good
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One line of the supervisor's table.

    Attributes:
        name: tagging-0, kafka, …
        status: where it stands.
        pid: process id, 0 when it does not run.
        restarts: how often it was started again.
        memory_bytes: resident memory with its children, shared pages counted once where the
            system tells.
        problem: why it waits or failed.
    """

    name: str
    status: Status
    pid: int
    restarts: int
    memory_bytes: int
    problem: str = ""


class SupervisedProcess:
    """Runs one process in a thread of its own until stopped.

    Args:
        name: for messages.
        process: what to run.
        say: gets one message at a time, for the person at the terminal.
        failed: told the reason when it is not started again.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        name: str,
        process: Runnable,
        *,
        say: Callable[[str], None],
        failed: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._process = process
        self._say = say
        self._failed = failed
        self._clock = clock
        self._changed = threading.Condition()
        self._status = Status.STOPPED
        self._problem = ""
        self._starts = 0
        self._failures = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-supervisor", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._set(Status.STARTING)
        self._thread.start()

    def wait_until_up(self) -> None:
        """Wait for the first time that it is up.

        Raises:
            ConfigurationError: it failed for good; the message says why.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._status in {Status.RUNNING, Status.FAILED, Status.STOPPED}
            )
            if self._status is not Status.RUNNING:
                raise ConfigurationError(self._problem or f"{self.name} was stopped")

    def state(self) -> ProcessState:
        """Where it stands now."""
        with self._changed:
            status, problem, starts = self._status, self._problem, self._starts
        pid = self._process.pid if status is Status.RUNNING else 0
        return ProcessState(self.name, status, pid, max(starts - 1, 0), memory_bytes(pid), problem)

    def request_stop(self) -> None:
        """Let it end and not start again; returns when the process has ended."""
        self._stopping.set()
        if self._thread.ident is None:
            return
        self._process.stop()
        if self._process.pid:  # else it is being prepared (a download, say): nothing to wait for
            self._thread.join(JOIN_TIMEOUT_S)

    def kill(self) -> None:
        """End it at once and do not start it again."""
        self._stopping.set()
        self._process.kill()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                ended = self._run_once()
                if ended is None or self._stopping.is_set():
                    break
                decision = decide(self._failures, ended)
                self._report(ended, decision)
                if isinstance(decision, NoRestart):
                    self._failed(self._problem)
                    return
                self._failures = decision.failures
                self._stopping.wait(decision.delay_s)
        except BaseException as error:
            # A bug: the thread's traceback tells it, but nobody should wait for us for ever.
            self._set(Status.FAILED, f"{self.name}: {type(error).__name__}: {error}")
            self._failed(self._problem)
            raise
        finally:
            # A start that was under way when the stop was asked for ends here.
            self._process.stop()
            if self._status is not Status.FAILED:
                self._set(Status.STOPPED)

    def _run_once(self) -> ProcessEnd | None:
        """One start and one end; None where we asked for it."""
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
        if isinstance(decision, NoRestart):
            last = "" if ended.obstacle else f"\n{_indented(words)}"
            self._set(Status.FAILED, f"{how} and is not started again: {decision.reason}{last}")
            self._say(self._problem)
        elif decision.is_loop:
            self._set(Status.WAITING, f"{how}: {decision.failures} failures in a row")
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
    """Memory of a process and its children in bytes; 0 where there is none."""
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
    """Proportional share where the system tells it: PostgreSQL's children share buffers."""
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    return int(getattr(full, "pss", full.rss))
