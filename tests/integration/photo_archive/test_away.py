"""Commands while the archive of this machine's home does not run: a sentence, and at once."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer

from core.settings import DatabaseSettings
from photo_archive import running
from standalone import presence
from standalone.processes.locking import DirectoryLock, is_locked
from tests.command import COMMAND

LIMIT_S = 300  # of the start of Python on a busy machine
NOBODY = "postgresql://photo_archive:secret@127.0.0.1:9/photo_archive"  # no server is there


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an archive that was stopped, in a terminal that has read its env.sh."""
    (tmp_path / "postgres").mkdir()
    passwords = json.dumps({"application": "secret"})
    (tmp_path / "postgres" / "passwords.json").write_text(passwords)
    monkeypatch.setenv("STANDALONE_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", NOBODY)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    return tmp_path


@pytest.fixture
def untold(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same home, in a terminal that has read nothing; nobody is at the usual address."""
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setattr(presence, "_somebody_answers", lambda _: False)
    return home


@pytest.fixture
def lock(home: Path) -> Iterator[DirectoryLock]:
    with DirectoryLock(home / "lock", "the standalone mode") as lock:
        yield lock


@pytest.mark.parametrize(
    "words",
    [("status",), ("link",), ("keys", "list"), ("labels", "list"), ("letters", "list"),
     ("targets", "list"), ("endpoints", "list")],
    ids=" ".join,
)  # fmt: skip
def test_a_command_says_in_one_sentence_that_the_archive_does_not_run(
    home: Path, words: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [COMMAND, *words],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert str(home / "lock") in line
    assert "make demo" in line
    assert "photo-archive up" in line


def test_no_server_is_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("a server was asked")

    monkeypatch.setattr(socket, "create_connection", asked)
    assert str(home / "lock") in presence.why_away()


def test_one_that_runs_is_asked(lock: DirectoryLock) -> None:
    assert lock.is_held
    assert presence.why_away() == ""


def test_a_database_elsewhere_is_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", NOBODY.replace("secret", "other"))
    assert (home / "postgres" / "passwords.json").exists()
    assert presence.why_away() == ""


def test_without_an_archive_here_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDALONE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert presence.why_away() == ""


def test_a_terminal_that_has_read_nothing_hears_the_same(untold: Path) -> None:
    assert f"no process holds {untold / 'lock'}" in presence.why_away()


def test_where_it_runs_such_a_terminal_hears_what_to_read(
    untold: Path, lock: DirectoryLock
) -> None:
    assert lock.is_held
    assert f"`. {untold / 'env.sh'}`" in presence.why_away()


def test_it_hears_so_too_where_the_archive_itself_is_at_the_usual_address(
    untold: Path, lock: DirectoryLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lock.is_held
    monkeypatch.setattr(presence, "_somebody_answers", lambda _: True)
    assert presence.why_away() == "", "it may be another's"

    usual = urlsplit(DatabaseSettings.model_fields["url"].default.get_secret_value())
    ours = f"postgresql://app:secret@{usual.hostname}:{usual.port}/photo_archive"
    (untold / "env.sh").write_text(f"export DATABASE_URL={ours}\n")

    assert f"`. {untold / 'env.sh'}`" in presence.why_away()


def test_a_server_at_the_usual_address_is_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.exists()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        usual = DatabaseSettings.model_fields["url"].default.get_secret_value()
        address = usual.replace(str(urlsplit(usual).port), str(port))
        assert presence._somebody_answers(address)
    assert not presence._somebody_answers(address)


def test_a_command_that_needs_no_server_goes_on(home: Path) -> None:
    assert home.exists()

    async def work() -> int:
        return 7

    with pytest.raises(typer.Exit) as ended:
        running.run(work(), asks_servers=False)
    assert ended.value.exit_code == 7


def test_a_look_at_a_lock_neither_takes_nor_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    assert not path.exists()
    with DirectoryLock(path, "a test"):
        assert is_locked(path)
        assert is_locked(path)
    assert not is_locked(path)
    with DirectoryLock(path, "a test") as again:
        assert again.is_held
