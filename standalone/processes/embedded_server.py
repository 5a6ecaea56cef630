"""What both embedded servers have in common: lock the directory, start, become ready, stop."""

import errno
import shutil
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path

from core.errors import ConfigurationError
from standalone.failures import DiskFull, NotSupported, PortTaken, ServerFailed
from standalone.processes.child_process import ChildProcess, Command
from standalone.processes.locking import DirectoryLock

PORT_IN_USE = "Address already in use"
NO_SPACE = "No space left on device"
START_TRIES = 25
# A start takes seconds as a rule; on a machine with twenty times the load that it can bear both
# servers took minutes and were well. One that lives and writes is waited for; one that hangs is
# known by its silence.
QUIET_S = 300.0
LONGEST_START_S = 1800.0
# With less, Kafka's memory-mapped indexes fault with errors that do not name the cause.
LEAST_FREE_BYTES = 32 * 1024 * 1024


class EmbeddedServer(ABC):
    """A server in a folder that it alone may use.

    It may be started again after its end, and keeps its ports then, because clients know them.
    Call `wait`, `stop` and the properties from any thread, the other methods from one.

    Args:
        folder: the folder of all its files; created when missing.
        subject: its name, for messages.
        stop_signal: the signal that asks for a clean stop.
        stop_grace_s: the time that a clean stop may take; then the server is killed.
    """

    def __init__(
        self, folder: Path, *, subject: str, stop_signal: signal.Signals, stop_grace_s: float
    ) -> None:
        self._folder = folder
        self._subject = subject
        self._stop_signal = stop_signal
        self._stop_grace_s = stop_grace_s
        self._lock = DirectoryLock(folder / "lock", subject)
        self._child: ChildProcess | None = None
        self._ports: tuple[int, ...] = ()
        self._stop_asked = False

    @property
    def pid(self) -> int:
        """The process id; 0 when it never ran."""
        return self._child.pid if self._child else 0

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that it listens on, the clients' first; empty before the first start."""
        return self._ports

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.is_running

    def start(self) -> None:
        """Start it, also after a crash, and wait until it answers.

        Raises:
            NotSupported: this machine cannot run it; the message says why.
            DirectoryLocked: another process runs it on this data.
            PortTaken: no port is free.
            DiskFull: the disk is full.
            ServerFailed: it ended or did not answer; the message has its last lines.
        """
        self._stop_asked = False
        try:
            self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            if not self._lock.is_held:
                self._lock.acquire()
            self._check_disk()
            self._prepare()
            self._launch()
        except OSError as error:
            self.stop()
            raise self._translated(error) from error
        except BaseException as error:
            was_asked = self._stop_asked
            self.stop()
            if was_asked and isinstance(error, Exception):
                raise self._was_stopped() from error  # the lock went from under our feet
            raise

    def _was_stopped(self) -> ServerFailed:
        return ServerFailed(f"{self._subject} was stopped while it was started")

    def stop(self) -> None:
        """Stop it cleanly and cut its connections; do nothing when it does not run.

        A start that is under way in another thread fails.
        """
        self._stop_asked = True
        if self._child is not None and self._child.is_running:
            self._stopped(self._child.stop(self._stop_signal, self._stop_grace_s))
        self._lock.release()

    def kill(self) -> None:
        """Kill it. Its data survives; the next start takes longer."""
        if self._child is not None:
            self._child.stop(signal.SIGKILL, 0.0)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; return the exit code, or None when time ran out."""
        return self._child.wait(timeout_s) if self._child else None

    def tail(self) -> str:
        """Return the last lines of its output."""
        return self._child.tail() if self._child else ""

    def obstacle(self) -> str:
        """Return, after its end, why another start cannot help; empty where it may help."""
        return self._full_disk() if NO_SPACE in self.tail() or self._is_disk_full() else ""

    def _data_place(self) -> Path:
        """Return the folder whose file system holds the data."""
        return self._folder

    def _is_disk_full(self) -> bool:
        return shutil.disk_usage(self._data_place()).free < LEAST_FREE_BYTES

    def _check_disk(self) -> None:
        if self._is_disk_full():
            raise DiskFull(self._full_disk())

    def _translated(self, error: OSError) -> ConfigurationError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return DiskFull(self._full_disk())
        return NotSupported(
            f"{self._subject} cannot work in {self._folder}: {error}. If another user started it "
            "before, start it as that user, or choose another STANDALONE_HOME"
        )

    def _full_disk(self) -> str:
        return (
            f"no space left for {self._subject}'s data in {self._data_place()}: make room there "
            "and start again, nothing that was acknowledged is lost"
        )

    def _launch(self) -> None:
        for _ in range(START_TRIES):
            if self._stop_asked:
                raise self._was_stopped()
            ports = self._ports or self._choose_ports()
            child = self._child = ChildProcess(self._command(ports))
            child.start()
            began = time.monotonic()
            if self._is_ready(child, ports):
                self._ports = ports
                self._lock.describe_owner(
                    child_pid=child.pid, ports=", ".join(str(port) for port in ports)
                )
                return
            late_s = time.monotonic() - began if child.is_running else None
            child.stop(self._stop_signal, self._stop_grace_s)
            self._judge(child, ports, late_s)
        raise ServerFailed(f"{self._subject} did not start in {START_TRIES} tries:\n{self.tail()}")

    def _says(self, child: ChildProcess, marker: str) -> bool:
        """Wait until a server says so; return False if it ended or stands still."""
        return child.wait_while_it_moves(marker, quiet_s=QUIET_S, longest_s=LONGEST_START_S)

    def _judge(self, child: ChildProcess, ports: tuple[int, ...], late_s: float | None) -> None:
        """Return when another try may help; raise the cause when none can.

        Args:
            child: the server, which has ended.
            ports: that it was to have.
            late_s: after how long it was stopped because it was not ready; None: it ended itself.
        """
        self._check_disk()
        if child.has_said(NO_SPACE):
            raise DiskFull(self._full_disk())
        if child.has_said(PORT_IN_USE):
            if self._ports:
                raise PortTaken(
                    f"{self._subject}'s port ({', '.join(map(str, ports))}) was taken by another "
                    "process while it was down; end that one and start again"
                )
            return  # another process took the port first: the next try chooses again
        if not self._may_try_again(child):
            how = (
                f"ended with exit code {child.exit_code}"
                if late_s is None
                else f"was not ready within {late_s:.0f} s and was stopped"
            )
            raise ServerFailed(f"{self._subject} {how}:\n{child.tail(30)}")

    def _may_try_again(self, child: ChildProcess) -> bool:  # noqa: ARG002  # an answer for overriders
        return False

    def _stopped(self, exit_code: int | None) -> None:  # noqa: B027  # an optional hook
        """React to the end of a stop that was asked for."""

    @abstractmethod
    def _prepare(self) -> None:
        """Prepare all that the ports do not matter for; the first time this may take long."""

    @abstractmethod
    def _choose_ports(self) -> tuple[int, ...]:
        """Return free ports, the clients' first."""

    @abstractmethod
    def _command(self, ports: tuple[int, ...]) -> Command:
        """Return the foreground command; its markers include `PORT_IN_USE` and `NO_SPACE`."""

    @abstractmethod
    def _is_ready(self, child: ChildProcess, ports: tuple[int, ...]) -> bool:
        """Wait until it serves; return False if it ended or time ran out."""
