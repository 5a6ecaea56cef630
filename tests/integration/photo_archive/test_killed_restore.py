"""`restore` into a home, killed at every step: nobody takes the half for a whole one."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from photo_archive.backing.steps import STEPS
from standalone.demo.kept_keys import admin_key
from standalone.environment import inherited
from standalone.restore_note import FILE_NAME
from standalone.supervision.role_keepers import PROJECT
from standalone.supervision.supervisor import Supervisor
from tests.e2e.homes import ArchiveHome, new_home, run
from tests.e2e.test_backups import _fetch, rows_at, rows_of
from tests.servers import at_database, execute, make_home, run_apart

PHOTO = b"bytes of a photo"
DIGEST = hashlib.sha256(PHOTO).hexdigest()
PLACE = Path(DIGEST[:2], DIGEST[2:4])
LIMIT_S = 600.0  # of a command: seconds, but each starts both servers in its turn
KEYS = ("secrets.key", "admin-key.json", "demo-key.json")
#: By turns into a home in which nothing was ever started, and in the place of another archive.
CASES = [(step, ("--new-kafka", "--replace")[number % 2]) for number, step in enumerate(STEPS)]
INSERT = """
INSERT INTO images (image_id, uri, path, status)
VALUES (gen_random_uuid(), 'file:photos/{name}', 'photos/{name}', 'accepted')
"""
NAMES = "SELECT datname FROM pg_database WHERE datname ~ '_(restoring|before)' ORDER BY datname"

pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An archive that was backed up: what it knows and keeps; and another one, at rest."""

    home: ArchiveHome
    backup: Path
    rows: dict[str, list[Any]]
    keys: dict[str, bytes]
    other: ArchiveHome
    other_rows: dict[str, list[Any]]


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    place = make_home("killed")
    photos = place / "photos"
    photos.mkdir()
    home, backup = new_home(photos), place / "backup"
    (home.path / "kept" / PLACE).mkdir(parents=True)
    (home.path / "kept" / PLACE / DIGEST).write_bytes(PHOTO)
    with home.servers() as supervisor:
        environment = supervisor.environment() | {"ARCHIVE_BLOBS": known(home)["ARCHIVE_BLOBS"]}
        done = subprocess.run(
            [sys.executable, "-m", "migrations"], cwd=PROJECT, env=environment,
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        rows = _peopled(home, supervisor, "walk.jpg")
        written = run(("backup", str(backup)), environment)
        assert written.returncode == 0, written.stderr
    keys = _keys(home)
    other = home.copy()
    for name in KEYS:
        (other.path / name).unlink()
    with other.servers() as supervisor:
        other_rows = _peopled(other, supervisor, "other.jpg")
    yield Prepared(home, backup, rows, keys, other, other_rows)
    shutil.rmtree(place, ignore_errors=True)
    home.remove()
    other.remove()


def _peopled(home: ArchiveHome, supervisor: Supervisor, name: str) -> dict[str, list[Any]]:
    """What an archive knows when it has got a photo, and keys of its own."""
    admin_key(home.path, supervisor.environment())
    run_apart(execute(supervisor.postgres.url, INSERT.format(name=name)))
    return rows_at(supervisor.postgres.url)


def known(home: ArchiveHome) -> dict[str, str]:
    """The variables of a terminal."""
    return {
        **home.variables(),
        "ARCHIVE_BLOBS": f"file:{home.path / 'kept'}",
        "TAGGING_MODEL": "demo",
    }


def _keys(home: ArchiveHome) -> dict[str, bytes]:
    return {name: (home.path / name).read_bytes().strip() for name in KEYS}


def killed_at(step: str, home: ArchiveHome, *words: str) -> None:
    """Run a command that dies at a step."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.photo_archive.dying", step, *words],
        cwd=PROJECT, env={**inherited(), **known(home)}, capture_output=True, text=True,
        timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def refused(home: ArchiveHome, *words: str) -> str:
    """What a command says that is refused: one line, less what is said of the home's rights."""
    done = run(words, known(home))
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "open to other users" not in line]
    return line


@pytest.mark.parametrize(("step", "option"), CASES)
def test_a_home_in_which_a_restore_was_killed_starts_only_when_it_was_restored_to_the_end(
    prepared: Prepared, step: str, option: str
) -> None:
    replaces = option == "--replace"
    home = prepared.other.copy() if replaces else new_home(prepared.home.photos)
    command = ("restore", str(prepared.backup), option)

    killed_at(step, home, *command)
    up, backup = refused(home, "up"), refused(home, "backup", str(home.path / "b"))
    restored = run((*command, "--json"), known(home))

    assert up == backup
    assert f"run `photo-archive {' '.join(command)}` again" in up
    assert restored.returncode == 0, restored.stderr
    told = json.loads(restored.stdout)
    assert told["images"] == 1
    assert not (home.path / FILE_NAME).exists()
    assert list(home.path.glob("*.restored")) == []
    assert _keys(home) == prepared.keys
    assert [path.read_bytes() for path in (home.path / "kept" / PLACE).iterdir()] == [PHOTO]
    with home.servers() as supervisor:
        url = supervisor.postgres.url
        beside = run_apart(_fetch(at_database(url, "postgres"), NAMES))
        assert beside == ([(told["kept_database"],)] if replaces else [])
        assert rows_at(url) == prepared.rows
    home.remove()


def test_one_whose_database_is_in_place_is_ended_before_another_backup_is_restored(
    prepared: Prepared, tmp_path: Path
) -> None:
    home, other = new_home(prepared.home.photos), tmp_path / "other"
    shutil.copytree(prepared.backup, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"made_at": "another day"}))
    command = ("restore", str(prepared.backup), "--new-kafka", "--hold-deliveries")
    killed_at("restore.swapped", home, *command)

    said = refused(home, "restore", str(other), "--replace")
    ended = run(("restore", str(prepared.backup)), known(home))

    assert f"run `photo-archive {' '.join(command)}` first, which ends it" in said
    assert ended.returncode == 0, ended.stderr
    assert "are held back" in ended.stdout
    assert rows_of(home) == prepared.rows
    home.remove()


def test_what_was_there_before_can_be_gone_on_with_while_nothing_of_the_backup_is_in_place(
    prepared: Prepared,
) -> None:
    home = prepared.other.copy()
    killed_at("restore.copied", home, "restore", str(prepared.backup), "--replace")

    said = refused(home, "up")
    (home.path / FILE_NAME).unlink()

    assert f"or remove {home.path / FILE_NAME} to go on with what was here before" in said
    assert rows_of(home) == prepared.other_rows
    assert _keys(home) == _keys(prepared.other)
    home.remove()


def test_a_restore_that_is_refused_leaves_a_home_as_whole_as_it_was(prepared: Prepared) -> None:
    home = prepared.other.copy()

    said = refused(home, "restore", str(prepared.backup))

    assert "--replace" in said
    assert not (home.path / FILE_NAME).exists()
    assert rows_of(home) == prepared.other_rows
    home.remove()
