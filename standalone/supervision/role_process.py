"""One of the project's processes, which can be started again after its end."""

import json
import signal
import socket
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from core.starting import HELD, LISTENING, LOADED
from standalone.processes.child_process import ChildProcess, Command
from standalone.supervision.roles import ProcessSpec, python_command

# Webhooks under way have DELIVERY_EXCHANGE_TIMEOUT_S and 2 s more, 32 s; a batch has 25 s.
STOP_GRACE_S = 40.0


class RoleProcess:
    """Runs one of the project's processes; each start is a new process.

    A process that may load before its servers are up is started held, the first time: it says when
    it has loaded, and goes on when `release` says where they are (`core.starting`). Any thread may
    call any method.

    Args:
        role: what to run.
        environment: all of its environment but how to reach the servers.
        log: the file of its output.
        directory: the folder in which Python finds the packages.
        listening: the socket that it serves on; None: it binds its own, where it serves.
    """

    def __init__(
        self,
        role: ProcessSpec,
        environment: Mapping[str, str],
        *,
        log: Path,
        directory: Path,
        listening: socket.socket | None = None,
    ) -> None:
        descriptors = () if listening is None else (listening.fileno(),)
        self._listening = listening  # closed, its number would soon be that of something else
        self._command = Command(
            name=role.name,
            argv=(*python_command(role), *(f"{LISTENING}={number}" for number in descriptors)),
            descriptors=descriptors,
            log=log,
            environment=environment,
            directory=directory,
            markers=(LOADED,),
        )
        self._may_load_first = role.loads_first
        self._is_first = True
        self._starting = threading.Lock()
        self._servers: Mapping[str, str] | None = None
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
        with self._starting:
            child = ChildProcess(self._next_command())
            child.start()
            self._child, self._is_first = child, False
            if child.is_held and self._servers is not None:
                child.release(json.dumps(dict(self._servers)))

    def _next_command(self) -> Command:
        command, servers = self._command, self._servers
        if self._may_load_first and (self._is_first or servers is None):
            return replace(command, argv=(*command.argv, HELD), is_held=True)
        return replace(command, environment={**command.environment, **(servers or {})})

    def release(self, servers: Mapping[str, str]) -> None:
        """Let it go on, and start it right away from now on.

        Args:
            servers: the variables by which it reaches the servers, which are up.
        """
        with self._starting:
            self._servers = servers
            if self._child is not None and self._child.is_held:
                self._child.release(json.dumps(dict(servers)))

    def wait_until_loaded(self, timeout_s: float) -> bool:
        """Wait until it says that it has loaded, which a held one does; return whether it did."""
        child = self._child
        return child is not None and child.is_held and child.wait_for(LOADED, timeout_s)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; return the exit code, or None when time ran out."""
        return self._child.wait(timeout_s) if self._child else None

    def stop(self) -> None:
        """Ask it to finish its batch and end; kill it after 40 s."""
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
