"""What other users of the machine may do in the home of an archive: nothing."""

import os
import stat
from pathlib import Path

import pytest

from standalone.privacy import close_home, make_home
from tests.integration.standalone.test_supervisor import SLEEPER, Driven

SECRETS = ("kafka/passwords.json", "kafka/server.properties", "postgres/passwords.json")


def rights(path: Path) -> int:
    """Return what the group and others may do there."""
    return stat.S_IMODE(path.lstat().st_mode) & 0o077


def open_home(home: Path) -> None:
    """Make a home as earlier versions did."""
    for folder in ("kafka", "logs", "postgres/data"):
        (home / folder).mkdir(parents=True, mode=0o755)
    for file in ("env.sh", "kafka/server.properties", "logs/ingress.log"):
        (home / file).write_text("a secret")
        (home / file).chmod(0o644)
    home.chmod(0o755)


def test_a_home_of_an_earlier_version_is_closed_and_that_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    home = tmp_path / "var"
    open_home(home)

    close_home(home, said.append)

    most = 0o011 if os.geteuid() == 0 else 0
    assert rights(home) == rights(home / "postgres") == most
    assert rights(home / "kafka") == rights(home / "logs") == rights(home / "env.sh") == 0
    assert len(said) == 1
    assert str(home) in said[0]


def test_a_closed_home_is_not_spoken_of(tmp_path: Path) -> None:
    said: list[str] = []
    make_home(tmp_path / "a" / "var")
    for _ in range(2):
        close_home(tmp_path / "a" / "var", said.append)
    assert said == []


def test_a_link_in_the_home_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("of somebody else")
    elsewhere.chmod(0o644)
    make_home(tmp_path / "var")
    (tmp_path / "var" / "link").symlink_to(elsewhere)

    close_home(tmp_path / "var", lambda _: None)

    assert rights(elsewhere) == 0o044


@pytest.mark.parametrize("made", ["home", "empty_home"])
def test_nothing_of_a_running_archive_can_be_read_by_others(
    made: str, request: pytest.FixtureRequest
) -> None:
    place: Path = request.getfixturevalue(made)
    driven = Driven(place, sleeper=SLEEPER)
    try:
        driven.read_until("up")
        most = 0o011 if os.geteuid() == 0 else 0
        for entry in (place, *place.iterdir()):
            allowed = most if entry in {place, place / "postgres"} else 0
            assert rights(entry) & ~allowed == 0, entry
        for secret in SECRETS:
            assert rights(place / secret) == 0, secret
        assert rights(place / "postgres" / "data") == 0
    finally:
        driven.stop()
