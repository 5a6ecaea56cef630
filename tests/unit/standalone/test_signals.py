"""Work that a signal ends at any moment, with real signals to a process of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: `work` tells by a line that the signal may come.
FRAME = """
import sys, threading
from standalone.signals import run_until_told

ended, held = threading.Event(), threading.Condition()

def say(text):
    print(text, flush=True)

def stop():
    with held:  # as a stop must: some lock of what it stops
        ended.set()
    say("stop called")

{body}
sys.exit(run_until_told(work, stop=stop, kill=kill, say=say))
"""


def run(body: str, signals: int = 0) -> tuple[int, list[str]]:
    """Return exit code and lines; send so many signals when it is ready, one per line since."""
    with subprocess.Popen(
        [sys.executable, "-c", FRAME.format(body=body)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if signals:
                process.send_signal(signal.SIGTERM)
                signals -= 1
        return process.wait(30), lines


def test_work_that_ends_by_itself_gives_the_exit_code_after_the_stop() -> None:
    code, lines = run("kill = None\ndef work(): say('worked'); return 7")
    assert (code, lines) == (7, ["worked", "stop called"])


def test_an_error_of_the_work_comes_out_after_the_stop() -> None:
    code, lines = run("kill = None\ndef work(): raise LookupError('of the work')")
    assert code == 1
    assert lines[0] == "stop called"
    assert lines[-1] == "LookupError: of the work"


def test_a_signal_stops_and_is_no_failure() -> None:
    code, lines = run("kill = None\ndef work(): say('ready'); ended.wait(); return 1", signals=1)
    assert (code, lines) == (0, ["ready", "stop called", "stopped"])


def test_a_signal_that_another_thread_receives_stops_as_well() -> None:
    body = """
import signal
kill = None
def work():
    say("ready")
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # as the system may choose
    ended.wait()
    return 1
"""
    code, lines = run(body)
    assert (code, lines) == (0, ["ready", "stop called", "stopped"])


def test_a_further_signal_kills_while_the_stop_hangs() -> None:
    body = """
hanging = threading.Event()
def stop():
    say("stop called")
    hanging.wait()
def kill():
    say("killed")
    hanging.set()
def work():
    say("ready")
    threading.Event().wait()
"""
    code, lines = run(body, signals=2)
    assert code == 0
    assert lines == ["ready", "stop called", "stopping at once", "killed", "stopped"]


@pytest.mark.parametrize("attempt", range(5))
def test_a_signal_never_leaves_a_lock_behind_that_the_stop_needs(attempt: int) -> None:
    """An exception out of the handler would, wherever it met the work at that moment."""
    body = """
kill = None
def work():
    say("ready")
    while not ended.is_set():
        with held:
            pass
    return 0
"""
    del attempt
    code, lines = run(body, signals=1)
    assert (code, lines) == (0, ["ready", "stop called", "stopped"])
