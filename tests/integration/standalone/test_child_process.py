"""Child processes end with their parent."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from standalone.failures import ServerFailed
from standalone.processes.child_process import ChildProcess, Command
from tests.integration.standalone.waiting import is_gone, until

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux knows a parent-death signal"
)

PARENT = """
import os, sys, threading
from pathlib import Path
from standalone.processes.child_process import ChildProcess, Command
child = ChildProcess(Command(name="child", argv=("sleep", "60"), log=Path(sys.argv[1]),
                      environment=dict(os.environ), directory=Path("/")))
thread = threading.Thread(target=child.start)
thread.start()
thread.join()
print(child.pid, flush=True)
sys.stdin.read()
"""


def command(tmp_path: Path, *argv: str, markers: tuple[str, ...] = ()) -> Command:
    return Command(
        name="child",
        argv=argv,
        log=tmp_path / "child.log",
        environment=dict(os.environ),
        directory=tmp_path,
        markers=markers,
    )


@linux_only
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not is_gone(pid)
    parent.kill()
    parent.communicate()
    until(lambda: is_gone(pid), "the child has ended", 5)


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    child = ChildProcess(command(tmp_path, "sleep", "60"))
    thread = threading.Thread(target=child.start)
    thread.start()
    thread.join()
    assert child.wait(0.5) is None
    assert child.stop(signal.SIGTERM, 5) == -signal.SIGTERM


def test_what_it_says_is_logged_and_watched(tmp_path: Path) -> None:
    child = ChildProcess(
        command(tmp_path, "sh", "-c", "echo one; echo ready now; sleep 60", markers=("ready",))
    )
    child.start()
    try:
        assert child.wait_for("ready", 5)
        assert child.tail() == "one\nready now"
        assert (tmp_path / "child.log").read_text() == "one\nready now\n"
    finally:
        child.stop(signal.SIGKILL, 1)


def test_an_end_is_noticed_while_waiting_for_words(tmp_path: Path) -> None:
    child = ChildProcess(command(tmp_path, "sh", "-c", "echo no; exit 3", markers=("ready",)))
    child.start()
    assert not child.wait_for("ready", 10)
    assert (child.exit_code, child.tail()) == (3, "no")


def test_the_children_of_a_child_that_crashed_do_not_stay(tmp_path: Path) -> None:
    child = ChildProcess(command(tmp_path, "sh", "-c", "sleep 60 & echo $!; exit 1"))
    child.start()
    assert child.wait(10) == 1
    until(lambda: is_gone(int(child.tail())), "the grandchild has ended", 5)


def test_one_that_does_not_heed_the_signal_is_killed(tmp_path: Path) -> None:
    child = ChildProcess(
        command(tmp_path, "sh", "-c", "trap '' TERM; echo deaf; sleep 60", markers=("deaf",))
    )
    child.start()
    assert child.wait_for("deaf", 5)
    assert child.stop(signal.SIGTERM, 0.3) == -signal.SIGKILL


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    child = ChildProcess(command(tmp_path, "/no/such/program"))
    with pytest.raises(ServerFailed, match=r"child could not be started: .* /no/such/program"):
        child.start()
