"""One owner per directory."""

import subprocess
import sys
from pathlib import Path

import pytest

from standalone.failures import DirectoryLocked
from standalone.processes.locking import DirectoryLock

OWNER = """
import os, subprocess, sys
from pathlib import Path
from standalone.processes.locking import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]), "a server")
lock.acquire()
child = subprocess.Popen(
    ["sleep", sys.argv[2]], pass_fds=[lock.descriptor], stdout=subprocess.DEVNULL
)
lock.describe_owner(child_pid=child.pid, ports="19092, 19093")
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def run_owner(path: Path, child_s: float) -> subprocess.Popen[str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path), str(child_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    owner.stdout.readline()
    return owner


def end(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.communicate()


def test_a_second_owner_is_refused_by_name_and_ports(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    owner = run_owner(path, 1)
    try:
        with pytest.raises(DirectoryLocked, match=f"process {owner.pid}, ports 19092, 19093"):
            DirectoryLock(path, "Kafka").acquire()
    finally:
        end(owner)


def test_the_same_process_cannot_own_it_twice(tmp_path: Path) -> None:
    with (
        DirectoryLock(tmp_path / "lock", "Kafka"),
        pytest.raises(DirectoryLocked, match="in use"),
    ):
        DirectoryLock(tmp_path / "lock", "Kafka").acquire()


def test_a_dead_owners_server_is_waited_for(tmp_path: Path) -> None:
    owner = run_owner(tmp_path / "lock", child_s=1.0)
    end(owner)
    with DirectoryLock(tmp_path / "lock", "Kafka") as lock:
        assert lock.is_held


def test_a_dead_owners_server_that_stays_is_asked_to_end(tmp_path: Path) -> None:
    owner = run_owner(tmp_path / "lock", child_s=60)
    end(owner)
    with DirectoryLock(tmp_path / "lock", "Kafka") as lock:
        assert lock.is_held


def test_a_released_lock_is_free_again(tmp_path: Path) -> None:
    first = DirectoryLock(tmp_path / "lock", "Kafka")
    first.acquire()
    first.release()
    with DirectoryLock(tmp_path / "lock", "Kafka") as second:
        assert second.is_held
