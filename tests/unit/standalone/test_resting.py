"""The archive of a home that runs: found by what its terminal was told, or by env.sh."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from standalone import resting
from standalone.shell import write_shell_file

URL = "postgresql://app:secret@127.0.0.1:{}/archive"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose archive runs, and is not ready yet."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "passwords.json").write_text(json.dumps({"app": "secret"}))
    monkeypatch.setenv("STANDALONE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)

    def runs(**_: object) -> AbstractContextManager[tuple[Path, Mapping[str, str]]]:
        raise resting._Runs("in use")

    monkeypatch.setattr(resting, "at_rest", runs)
    return tmp_path


def test_one_that_is_not_ready_is_reached_by_who_knows_where_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="not up yet"), resting.reach(say=print):
        pass
    monkeypatch.setenv("DATABASE_URL", URL.format(1).replace("secret", "other"))
    with pytest.raises(ConfigurationError, match="not up yet"), resting.reach(say=print):
        pass

    monkeypatch.setenv("DATABASE_URL", URL.format(1))
    with resting.reach(say=print) as found:
        assert found == (home, {})


def test_what_the_last_start_wrote_comes_before_what_a_terminal_was_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ports may be others by now."""
    monkeypatch.setenv("DATABASE_URL", URL.format(1))
    write_shell_file(home, {"DATABASE_URL": URL.format(2)}, {})
    with resting.reach(say=print) as (_, settings):
        assert settings["DATABASE_URL"] == URL.format(2)
