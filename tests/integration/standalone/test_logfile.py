"""Logs that keep their size."""

import os
import sys
from pathlib import Path

import pytest

from standalone.processes.child_process import ChildProcess, Command
from standalone.processes.logfile import RotatingLog


def test_a_full_file_makes_room_and_the_oldest_goes(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "role.log", max_bytes=20, kept=3)
    for number in range(8):
        log.write(b"line %04d\n" % number)
    log.close()
    assert (tmp_path / "role.log").read_bytes() == b"line 0006\nline 0007\n"
    assert (tmp_path / "role.log.1").read_bytes() == b"line 0004\nline 0005\n"
    assert (tmp_path / "role.log.2").read_bytes() == b"line 0002\nline 0003\n"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_second_run_appends(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        log = RotatingLog(tmp_path / "logs" / "role.log")
        log.write(text)
        log.close()
    assert (tmp_path / "logs" / "role.log").read_bytes() == b"one\ntwo\n"


def forbid_rotation(log: Path) -> None:
    """Let renaming fail, for root as well: a file cannot take the place of a folder."""
    (log.with_name(f"{log.name}.1") / "full").mkdir(parents=True)


def test_a_file_that_cannot_be_rotated_is_emptied_and_goes_on(tmp_path: Path) -> None:
    forbid_rotation(tmp_path / "role.log")
    log = RotatingLog(tmp_path / "role.log", max_bytes=20, kept=3)
    for number in range(5):
        log.write(b"line %04d\n" % number)
    log.close()
    assert (tmp_path / "role.log").read_bytes() == b"line 0004\n"


def test_a_rotation_that_fails_halfway_loses_no_line_that_comes_later(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "logs" / "role.log", max_bytes=20, kept=3)
    log.write(b"line 0000\n")
    (tmp_path / "logs").rename(tmp_path / "moved")  # no new file can be made
    log.write(b"line 0001\n")
    log.write(b"line 0002\n")
    (tmp_path / "moved").rename(tmp_path / "logs")
    for number in (3, 4, 5):
        log.write(b"line %04d\n" % number)
    log.close()
    kept = b"".join(file.read_bytes() for file in sorted((tmp_path / "logs").iterdir()))
    assert b"line 0005\n" in kept
    assert b"line 0004\n" in kept


def test_a_process_whose_log_cannot_be_rotated_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RotatingLog.__init__, "__kwdefaults__", {"max_bytes": 100, "kept": 3})
    forbid_rotation(tmp_path / "role.log")
    much = "for n in range(20_000): print('line', n)"  # more than a pipe holds
    child = ChildProcess(
        Command(
            name="role",
            argv=(sys.executable, "-c", much),
            log=tmp_path / "role.log",
            environment=dict(os.environ),
            directory=tmp_path,
        )
    )
    child.start()
    assert child.wait(30) == 0
    assert child.tail(1) == "line 19999"
