"""Logs that keep their size."""

from pathlib import Path

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
