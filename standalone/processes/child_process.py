"""A child process that ends when we end: spawned, read, stopped.

On Linux the kernel signals the child when its parent ends (`setpriv --pdeathsig`), and the parent
is the *thread* that forked. So each child has a thread of its own, which spawns it and waits for
its end; any thread may start a child.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from standalone.failures import NotSupported, ServerFailed
from standalone.processes.logfile import RotatingLog

TAIL_LINES = 40  # kept for messages; a Java stack trace fits
LOOK_S = 1.0  # between two looks whether it still moves
KILL_WAIT_S = 10.0  # a killed process that stays longer hangs in the kernel
# Ends the child at once if the parent ended before the parent-death signal was set.
_GUARD = '[ "$PPID" = "$1" ] || exit 70; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class UnixUser:
    """The numbers of an unprivileged user."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command and how it runs.

    Attributes:
        name: its name, for messages and threads.
        argv: program and arguments.
        log: the file of its output, which is rotated.
        environment: its whole environment; nothing is inherited.
        directory: its working directory.
        markers: the texts that `has_said` and `wait_for` look for in its output.
        descriptors: open descriptors that it inherits.
        death_signal: the signal that it gets when we end, without `SIG`.
        user: the user that it runs as; None: ours.
        is_held: whether it waits for `release`, which ends its standard input; else that is empty.
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
    is_held: bool = False


def guarded(
    argv: Sequence[str], *, death_signal: str = "KILL", user: UnixUser | None = None
) -> list[str]:
    """Return the command line that runs `argv` as `user` and ends when we end.

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
        return list(argv)  # the next start finds an orphan by its lock and stops it
    options = [f"--pdeathsig={death_signal}"]
    if user is not None:
        options += [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
    return [setpriv, *options, "/bin/sh", "-c", _GUARD, "sh", str(os.getpid()), *argv]


@dataclass(slots=True)
class _Output:
    """The output of a child so far; `changed` is notified of each line and of the end."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    lines: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    seen: set[str] = field(default_factory=set)
    ended: bool = False


class ChildProcess:
    """One run of a command; it is started once."""

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
        """The process id, also after the end; 0 before the start."""
        return self._process.pid if self._process else 0

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs; negative where that signal ended it."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_held(self) -> bool:
        """Whether it was started to wait for `release`."""
        return self._command.is_held

    def tail(self, lines: int = 12) -> str:
        """Return the last lines of its output."""
        with self._output.changed:
            return "\n".join(list(self._output.tail)[-lines:])

    def start(self) -> None:
        """Spawn it.

        Raises:
            ServerFailed: the program could not be started.
            NotSupported: see `guarded`.
        """
        program, path = self._command.argv[0], self._command.environment.get("PATH")
        if shutil.which(program, path=path) is None:  # only the shell in between would tell
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
        """Run the child; the kernel takes the thread that calls this for its parent."""
        try:
            process = self._spawn(argv)
        except (OSError, ValueError) as error:
            self._spawn_error = error
            self._spawned.set()
            return
        self._process = process
        self._spawned.set()
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        # Its own children, such as decoding workers, must not survive it.
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
                stdin=subprocess.PIPE if self._command.is_held else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._command.directory,
                env=dict(self._command.environment),
                pass_fds=self._command.descriptors,
                start_new_session=True,  # Ctrl-C reaches us alone: we stop children in order
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
                    self._output.lines += 1
                    self._output.tail.append(text)
                    self._output.seen.update(m for m in self._command.markers if m in text)
                    self._output.changed.notify_all()

    def release(self, text: str) -> None:
        """Write the whole standard input of a held process; do nothing when it has ended."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError(f"{self.name} is not held")
        with contextlib.suppress(OSError, ValueError):  # it has ended
            self._process.stdin.write(text.encode())
            self._process.stdin.close()

    def has_said(self, marker: str) -> bool:
        """Return whether one of the command's markers was in its output."""
        with self._output.changed:
            return marker in self._output.seen

    def wait_while_it_moves(self, marker: str, *, quiet_s: float, longest_s: float) -> bool:
        """Wait until the marker was in its output; return False if it ended or stands still.

        Args:
            marker: one of the command's.
            quiet_s: how long it may write nothing.
            longest_s: how long all of it may take.
        """
        began = moved_at = time.monotonic()
        lines = 0
        while not self.wait_for(marker, LOOK_S):
            now = time.monotonic()
            if self._output.lines != lines:
                lines, moved_at = self._output.lines, now
            if not self.is_running or now - moved_at > quiet_s or now - began > longest_s:
                return False
        return True

    def wait_for(self, marker: str, timeout_s: float) -> bool:
        """Wait until the marker was in its output; return False if it ended or time ran out."""
        with self._output.changed:
            self._output.changed.wait_for(
                lambda: marker in self._output.seen or self._output.ended, timeout_s
            )
            return marker in self._output.seen

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end; return the exit code, or None when time ran out."""
        with self._output.changed:
            self._output.changed.wait_for(lambda: self._output.ended, timeout_s)
        return self.exit_code

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def stop(self, number: signal.Signals, grace_s: float) -> int | None:
        """Ask it to end by a signal; after the grace kill it and its process group.

        Returns:
            The exit code, or None if it still runs 10 s after the kill.
        """
        self.send(number)
        if self.wait(grace_s) is None and self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            return self.wait(KILL_WAIT_S)
        return self.exit_code
