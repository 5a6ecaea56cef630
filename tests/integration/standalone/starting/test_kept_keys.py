"""Making the keys of a home on a busy machine: nothing is cut off, and what fails is said."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigurationError
from standalone.demo import kept_keys
from standalone.demo.archive_client import ArchiveFailed
from standalone.demo.kept_keys import admin_key, both_keys, credentials

#: Answers as `photo-archive keys` does; counts its calls; `FAILS` of them find PostgreSQL away.
COMMAND = """#!{python}
import json, os, pathlib, sys, time
words = sys.argv[1:]
calls = pathlib.Path({folder!r})
number = len(list(calls.glob("call-*")))
(calls / f"call-{{number}}-{{os.getpid()}}").write_text(" ".join(words))
time.sleep(float(os.environ.get("TAKES_S", "0")))
if number < int(os.environ.get("FAILS", "0")):
    sys.exit("DatabaseAway: too busy")
if "signing-secret" in words:
    answer = {{"signing_secret": "whsec_rotated"}}
else:
    scopes = words[words.index("--scopes") + 1]
    secret = None if "NO_SECRET" in os.environ or scopes == "admin" else "whsec_first"
    answer = {{"key": f"pa_{{scopes}}", "signing_secret": secret}}
print(json.dumps(answer))
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the command; return the folder with a file of the words of each call."""
    folder = tmp_path / "calls"
    folder.mkdir()
    command = tmp_path / "photo-archive"
    command.write_text(COMMAND.format(python=sys.executable, folder=str(folder)))
    command.chmod(0o755)
    monkeypatch.setattr(kept_keys, "COMMAND", str(command))
    return folder


def said(calls: Path) -> list[str]:
    return sorted(path.read_text() for path in calls.iterdir())


def test_the_command_may_take_as_long_as_it_takes(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped after a minute, and with it the archive that worked."""
    limits: list[float | None] = []
    run = subprocess.Popen.communicate

    def communicate(process: Any, timeout: float | None = None) -> Any:
        limits.append(timeout)
        if len(limits) < 5:
            raise subprocess.TimeoutExpired("photo-archive", timeout or 0.0)
        return run(process, timeout=None)

    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)

    assert credentials(tmp_path, {}).key == "pa_upload,query,read,paths"
    assert len(said(calls)) == 1


def test_a_database_that_is_too_busy_is_asked_again(calls: Path, tmp_path: Path) -> None:
    assert credentials(tmp_path, {"FAILS": "2"}).signing_secret == "whsec_first"
    assert len(said(calls)) == 3


def test_what_fails_for_good_is_one_error_with_the_commands_words(
    calls: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveFailed, match="DatabaseAway: too busy"):
        credentials(tmp_path, {"FAILS": "99"})
    assert 1 < len(said(calls)) < 10


def test_both_keys_share_the_secret_whichever_was_made_first(calls: Path, tmp_path: Path) -> None:
    access, admin = both_keys(tmp_path, {})

    assert (access.key, admin) == ("pa_upload,query,read,paths", "pa_admin")
    assert access.signing_secret == "whsec_first"
    assert json.loads((tmp_path / "admin-key.json").read_text())["signing_secret"] == "whsec_first"
    assert admin_key(tmp_path, {}) == admin
    assert len(said(calls)) == 2, "what is kept is not made again"


def test_a_secret_that_was_told_to_a_try_that_was_cut_off_is_replaced(
    calls: Path, tmp_path: Path
) -> None:
    assert credentials(tmp_path, {"NO_SECRET": "1"}).signing_secret == "whsec_rotated"
    assert any("signing-secret" in words for words in said(calls))


def test_a_stop_ends_the_command(calls: Path, tmp_path: Path) -> None:
    """It would go on alone, with a database that is gone."""

    def stopped() -> None:
        if list(calls.iterdir()):
            raise ConfigurationError("all was stopped")

    with pytest.raises(ConfigurationError, match="all was stopped"):
        credentials(tmp_path, {"TAKES_S": "600"}, stopped)
    (call,) = calls.iterdir()
    pid = int(call.name.rpartition("-")[2])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
