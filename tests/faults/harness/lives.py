"""Lives: processes that `crashing` forks; start, aim, kill, stop them, and wait for their end."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Aim:
    """The step at which a life ends, at which hit of it, and in which role (any where empty)."""

    at: str = ""
    nth: int = 1
    group: str = ""
    signal: int = signal.SIGKILL

    def order(self) -> dict[str, Any]:
        """Return the order for the nursery."""
        return {"at": self.at, "nth": self.nth, "group": self.group, "signal": int(self.signal)}


NOWHERE = Aim()


class Lives:
    """The nursery, and the lives that it forked."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as file:
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.harness.crashing"],
                cwd=REPOSITORY,
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
        self.log = log
        self.alive: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in list(self.alive):
            self.kill(pid)
        self._nursery.communicate(timeout=30)

    def _tell(self, **order: Any) -> dict[str, Any]:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(order) + "\n")
        self._nursery.stdin.flush()
        line = self._nursery.stdout.readline()
        if not line:
            raise AssertionError(self.log.read_text(errors="replace")[-4000:])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def start(
        self, aim: Aim = NOWHERE, *, mutation: str = "", environment: dict[str, str] | None = None
    ) -> int:
        """Start a life; return its pid."""
        told = self._tell(
            do="start", mutation=mutation, environment=environment or {}, **aim.order()
        )
        self.alive.add(told["pid"])
        return int(told["pid"])

    def arm(self, pid: int, aim: Aim) -> None:
        """Make a running life end at a step."""
        self._tell(do="arm", pid=pid, **aim.order())

    def ended(self, pid: int, within_s: float) -> int | None:
        """Wait for a life's end; return minus the signal that killed it, or its exit code."""
        told = self._tell(do="wait", pid=pid, timeout_s=within_s)
        if "alive" in told:
            return None
        self.alive.discard(pid)
        return -int(told["signal"]) if "signal" in told else int(told["code"])

    def kill(self, pid: int) -> None:
        """Kill by SIGKILL, and reap."""
        os.kill(pid, signal.SIGKILL)
        self.ended(pid, 10)
