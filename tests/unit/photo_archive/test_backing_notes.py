"""The note of a restore: when a home is whole, and which steps a restore can be killed at."""

import re
from collections import Counter
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from photo_archive.backing.noting import Noting
from photo_archive.backing.steps import STEPS
from standalone import restore_note
from standalone.restore_note import HomeNotWhole, check_whole
from tests.unit.test_architecture import ROOT

COMMAND = "photo-archive restore /b --replace"


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text("{}")
    return tmp_path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_every_step_that_is_said_is_listed_and_every_listed_one_is_said_once() -> None:
    said = Counter(
        name
        for file in (ROOT / "photo_archive").rglob("*.py")
        for name in re.findall(r"\breach\(\"([^\"]+)\"\)", file.read_text(encoding="utf-8"))
    )

    assert said == dict.fromkeys(STEPS, 1)


def test_a_home_is_whole_before_a_restore_and_after_it(backup: Path, home: Path) -> None:
    noting = Noting(backup, COMMAND)

    check_whole(home)
    noting.begin(home)
    with pytest.raises(HomeNotWhole, match=f"run `{COMMAND}` again, which begins anew"):
        check_whole(home)
    noting.put_in_place_now({"kept": ""})
    with pytest.raises(HomeNotWhole, match=f"run `{COMMAND}` again, which ends it"):
        check_whole(home)
    noting.end()

    check_whole(home)
    assert list(home.iterdir()) == []


def test_one_that_fails_leaves_no_note_unless_it_found_one_or_may_have_put_something_in_place(
    backup: Path, home: Path
) -> None:
    def fails(*, is_in_place: bool) -> None:
        noting = Noting(backup, COMMAND)
        with noting.forgotten_unless_begun():
            noting.begin(home)
            if is_in_place:
                noting.put_in_place_now({})
            raise OSError("full")

    left = []
    for is_in_place in (False, True, False):  # the last one finds the note of the second
        with pytest.raises(OSError, match="full"):
            fails(is_in_place=is_in_place)
        left.append(restore_note.is_there(home))

    assert left == [False, True, True]


def test_only_the_backup_that_is_in_place_ends_it(backup: Path, home: Path) -> None:
    first = Noting(backup, COMMAND)
    first.begin(home)
    first.put_in_place_now({"kept": "x"})
    again = Noting(backup, "photo-archive restore /elsewhere")
    again.begin(home)
    (backup / "manifest.json").write_text('{"other": 1}')
    other = Noting(backup, "photo-archive restore /other")
    other.begin(home)

    assert again.cut_off() == {"kept": "x"}
    with pytest.raises(ConfigurationError, match=f"run `{COMMAND}` first, which ends it"):
        other.cut_off()


def test_a_note_that_cannot_be_read_is_no_reason_to_start(home: Path) -> None:
    (home / restore_note.FILE_NAME).write_text('{"of": "a later version"}')

    with pytest.raises(HomeNotWhole, match="use the version that wrote it"):
        check_whole(home)
