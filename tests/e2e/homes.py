"""Homes of archives that are stopped, copied, backed up and restored."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from standalone.environment import inherited
from standalone.supervision.role_keepers import PROJECT
from standalone.supervision.roles import all_roles
from standalone.supervision.supervisor import Supervisor
from tests.command import COMMAND
from tests.e2e.archive import RunningArchive, archive_at, plan_at
from tests.servers import make_home

SETTINGS = {"DELIVERY_SCHEDULE_S": "0,1,2,5,10,30"}  # so that retries come soon
COMMAND_TIMEOUT_S = 600.0  # it starts both servers in its turn
ROLES = tuple(role for role in all_roles(1, None) if role.name != "jobs")


@dataclass(frozen=True, slots=True)
class ArchiveHome:
    """A home, and the folder of its photos, which lies elsewhere."""

    path: Path
    photos: Path

    @contextmanager
    def running(self) -> Iterator[RunningArchive]:
        """Run its archive for the block."""
        with archive_at(self.path, self.photos, SETTINGS, roles=ROLES) as archive:
            yield archive

    @contextmanager
    def servers(self) -> Iterator[Supervisor]:
        """Run its servers alone for the block."""
        with Supervisor(plan_at(self.path, self.photos, SETTINGS), say=print) as supervisor:
            supervisor.start_servers()
            yield supervisor

    def copy(self) -> "ArchiveHome":
        """Return a copy of it, at rest."""
        path = make_home("copy")
        subprocess.run(["cp", "-a", f"{self.path}/.", str(path)], check=True)  # with owners
        return ArchiveHome(path, self.photos)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a terminal that knows no more than where the home is."""
        return run(words, self.variables())

    def variables(self) -> dict[str, str]:
        """Return what a terminal knows that knows no more than where the home is."""
        settings = plan_at(self.path, self.photos, SETTINGS).settings
        ports = {
            f"STANDALONE_{name.upper()}": str(value)
            for name, value in settings.model_dump().items()
        }
        return ports | {"ARCHIVE_ROOTS": f"photos={self.photos}"}

    def remove(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)


def new_home(photos: Path) -> ArchiveHome:
    """Return a home in which nothing was ever started."""
    return ArchiveHome(make_home("home"), photos)


def run(words: Sequence[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command; return how it ended and what it said."""
    return subprocess.run(
        (COMMAND, *words),
        cwd=PROJECT,
        env={**inherited(os.environ), **variables, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
