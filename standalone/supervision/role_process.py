"""One of the project's processes, which can be started again after its end."""

import signal
from collections.abc import Mapping
from pathlib import Path

from standalone.processes.child_process import ChildProcess, Command
from standalone.supervision.roles import ProcessSpec, python_command

# Webhooks under way have DELIVERY_EXCHANGE_TIMEOUT_S and 2 s more, 32 s; a batch has 25 s.
STOP_GRACE_S = 40.0


class RoleProcess:
    """Runs one of the project's processes; each start is a new process.

    Args:
        role: what to run.
        environment: its whole environment.
        log: the file of its output.
        directory: the folder in which Python finds the packages.
    """

    def __init__(
        self, role: ProcessSpec, environment: Mapping[str, str], *, log: Path, directory: Path
    ) -> None:
        self._command = Command(
            name=role.name,
            argv=python_command(role),
            log=log,
            environment=environment,
            directory=directory,
        )
        self._child: ChildProcess | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 when it never ran."""
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Start it; return when the process exists.

        Raises:
            ServerFailed: it could not be started.
        """
        self._child = ChildProcess(self._command)
        self._child.start()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; return the exit code, or None when time ran out."""
        return self._child.wait(timeout_s) if self._child else None

    def stop(self) -> None:
        """Ask it to finish its batch and end; kill it after 30 s."""
        if self._child is not None and self._child.is_running:
            self._child.stop(signal.SIGTERM, STOP_GRACE_S)

    def kill(self) -> None:
        """Kill it."""
        if self._child is not None:
            self._child.stop(signal.SIGKILL, 0.0)

    def tail(self) -> str:
        """Return the last lines of its output."""
        return self._child.tail() if self._child else ""

    def obstacle(self) -> str:
        """Return nothing: the exit code says whether another start can help."""
        return ""
