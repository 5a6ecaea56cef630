"""A child process that cannot outlive us: spawned, listened to, stopped.

On Linux the kernel signals the child when its parent ends (`setpriv --pdeathsig`). That signal
follows the *thread* which forked, not the process: so each child is spawned by a thread of its own
that waits for the child's end, and may be started from any thread.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from standalone.failures import NotSupported, ServerFailed
from standalone.processes.logfile import RotatingLog

TAIL_LINES = 40  # kept for messages; a Java stack trace fits
KILL_WAIT_S = 10.0  # a killed process that stays longer hangs in the kernel
# The parent may have ended before the parent-death signal was asked for: then end at once.
_GUARD = '[ "$PPID" = "$1" ] || exit 70; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class UnixUser:
    """An unprivileged user, by numbers."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run and how.

    Attributes:
        name: for messages and threads.
        argv: program and arguments.
        log: file that gets its output, rotated.
        environment: all of it, nothing is inherited.
        directory: working directory.
        markers: texts to watch for in the output.
        descriptors: open descriptors to hand on.
        death_signal: what it gets when we die, without `SIG`.
        user: run as this user; as our own when None.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    environment: Mapping[str, str]
    directory: Path
    markers: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()
    death_signal: str = "KILL"
    user: UnixUser | None = None


def guarded(
    argv: Sequence[str], *, death_signal: str = "KILL", user: UnixUser | None = None
) -> list[str]:
    """The command line that runs `argv` as `user` and ends with us.

    Raises:
        NotSupported: another user is wanted and `setpriv` is missing.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        if user is not None:
            raise NotSupported(
                "run as root, PostgreSQL needs `setpriv` (package util-linux) to become another "
                "user; install it, or start as an ordinary user"
            )
        return list(argv)  # an orphan is then found and stopped by the next start's lock
    options = [f"--pdeathsig={death_signal}"]
    if user is not None:
        options += [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
    return [setpriv, *options, "/bin/sh", "-c", _GUARD, "sh", str(os.getpid()), *argv]


@dataclass(slots=True)
class _Output:
    """What a child has said so far; its condition is told of each line and of the end."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    seen: set[str] = field(default_factory=set)
    ended: bool = False


class ChildProcess:
    """One run of a command. Not to be started twice."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._spawn_error: BaseException | None = None
        self._spawned = threading.Event()
        self._output = _Output()
        self._reader: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The command's name."""
        return self._command.name

    @property
    def pid(self) -> int:
        """Process id, also after the end; 0 before the start."""
        return self._process.pid if self._process else 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        """Started and not ended."""
        return self._process is not None and self._process.poll() is None

    def tail(self, lines: int = 12) -> str:
        """The last lines of its output."""
        with self._output.changed:
            return "\n".join(list(self._output.tail)[-lines:])

    def start(self) -> None:
        """Spawn it.

        Raises:
            ServerFailed: the program could not be started.
            NotSupported: see `guarded`.
        """
        program, path = self._command.argv[0], self._command.environment.get("PATH")
        if shutil.which(program, path=path) is None:  # else only the shell in between would say it
            raise ServerFailed(f"{self.name} could not be started: there is no program {program}")
        argv = guarded(
            self._command.argv,
            death_signal=self._command.death_signal,
            user=self._command.user,
        )
        keeper = threading.Thread(
            target=self._keep, args=(argv,), name=f"{self.name}-keeper", daemon=True
        )
        keeper.start()
        self._spawned.wait()
        if self._spawn_error is not None:
            raise ServerFailed(
                f"{self.name} could not be started: {self._spawn_error}"
            ) from self._spawn_error

    def _keep(self, argv: Sequence[str]) -> None:
        """Body of the thread whose life the parent-death signal follows."""
        try:
            process = self._spawn(argv)
        except (OSError, ValueError) as error:
            self._spawn_error = error
            self._spawned.set()
            return
        self._process = process
        self._spawned.set()
        process.wait()
        # Its own children (decoding workers, say) must not stay behind a kill.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if self._reader is not None:
            self._reader.join(timeout=1.0)  # PostgreSQL's orphans may hold the pipe longer
        with self._output.changed:
            self._output.ended = True
            self._output.changed.notify_all()

    def _spawn(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        log = RotatingLog(self._command.log)
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._command.directory,
                env=dict(self._command.environment),
                pass_fds=self._command.descriptors,
                start_new_session=True,  # Ctrl-C is for us: we stop them in the right order
            )
        except BaseException:
            log.close()
            raise
        self._reader = threading.Thread(
            target=self._read, args=(process.stdout, log), name=f"{self.name}-log", daemon=True
        )
        self._reader.start()
        return process

    def _read(self, stream: IO[bytes], log: RotatingLog) -> None:
        with contextlib.closing(log), stream:
            for line in stream:
                log.write(line)
                text = line.decode(errors="replace").rstrip()
                with self._output.changed:
                    self._output.tail.append(text)
                    self._output.seen.update(m for m in self._command.markers if m in text)
                    self._output.changed.notify_all()

    def has_said(self, marker: str) -> bool:
        """Whether one of the command's markers was in its output."""
        with self._output.changed:
            return marker in self._output.seen

    def wait_for(self, marker: str, timeout_s: float) -> bool:
        """Wait until the marker was said. False: it ended before, or time ran out."""
        with self._output.changed:
            self._output.changed.wait_for(
                lambda: marker in self._output.seen or self._output.ended, timeout_s
            )
            return marker in self._output.seen

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end; its exit code, or None when time ran out."""
        with self._output.changed:
            self._output.changed.wait_for(lambda: self._output.ended, timeout_s)
        return self.exit_code

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def stop(self, number: signal.Signals, grace_s: float) -> int | None:
        """Ask it to end, then kill it and its group.

        Returns:
            The exit code; None if even the kill did not end it within 10 s.
        """
        self.send(number)
        if self.wait(grace_s) is None and self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            return self.wait(KILL_WAIT_S)
        return self.exit_code
