"""Which archive a backup or restore works with: that of the home, or of DATABASE_URL."""

import json
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from photo_archive.backing import places

URL = "postgresql://app:{}@127.0.0.1:15432/photo_archive"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with data of an archive, named by its variable."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "passwords.json").write_text(json.dumps({"app": "new"}))
    monkeypatch.chdir(tmp_path)  # no `.env` of the developer's
    monkeypatch.setenv("STANDALONE_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", URL.format("old"))
    return tmp_path


@pytest.mark.parametrize("needs_data", [True, False])
def test_a_home_and_a_database_that_is_not_its_own_are_refused_and_both_named(
    home: Path, *, needs_data: bool
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        places._is_home(needs_data=needs_data)
    told = str(refused.value)
    assert f"STANDALONE_HOME is {home}" in told
    assert "DATABASE_URL leads elsewhere: 127.0.0.1:15432/photo_archive" in told
    assert ":old@" not in told, "no password"


def test_the_database_of_the_home_is_the_homes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL.format("new"))
    assert places._is_home(needs_data=True)
    monkeypatch.delenv("DATABASE_URL")
    assert places._is_home(needs_data=True)
    assert home.exists()


def test_a_database_elsewhere_is_taken_where_no_home_is_told_or_it_has_no_archive(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDALONE_HOME", str(home / "none"))
    assert not places._is_home(needs_data=True)
    monkeypatch.delenv("STANDALONE_HOME")
    assert not places._is_home(needs_data=False)
