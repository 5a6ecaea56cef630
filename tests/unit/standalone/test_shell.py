"""The file for other terminals."""

import stat
import subprocess
from pathlib import Path

from standalone.shell import read_shell_file, write_shell_file


def test_a_shell_that_reads_it_has_the_values_as_they_are(tmp_path: Path) -> None:
    odd = 'it\'s $HOME; `id` "quoted"'
    path = write_shell_file(tmp_path, {"DATABASE_URL": odd, "LANG": "C"}, {"LANG": "C"}, KEY="pa_1")

    shown = subprocess.run(
        ["/bin/sh", "-c", f'. {path}; printf "%s|%s" "$DATABASE_URL" "$KEY"; command -v python'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert shown.startswith(f"{odd}|pa_1")
    assert "/python" in shown
    assert "LANG" not in path.read_text(), "every terminal has its own"


def test_nobody_else_may_read_the_secrets_in_it(tmp_path: Path) -> None:
    path = write_shell_file(tmp_path, {}, {}, WEBHOOK_SECRET="whsec_x")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_setting_is_in_it_also_where_the_start_had_it_from_its_own_terminal(
    tmp_path: Path,
) -> None:
    given = {"ARCHIVE_ROOTS": "photos=/photos", "LANG": "C"}

    text = write_shell_file(tmp_path, given, given).read_text()

    assert "export ARCHIVE_ROOTS=photos=/photos\n" in text
    assert "LANG" not in text


def test_a_model_that_was_chosen_for_this_start_is_not_asked_for_at_the_next(
    tmp_path: Path,
) -> None:
    model = {"TAGGING_MODEL": "demo"}

    assert "TAGGING_MODEL" not in write_shell_file(tmp_path, model, {}).read_text()
    assert "TAGGING_MODEL" in write_shell_file(tmp_path, model, model).read_text()


def test_what_it_says_can_be_read_again_as_it_was(tmp_path: Path) -> None:
    given = {
        "ARCHIVE_ROOTS": "a=/it's a #place;b=/b",
        "DATABASE_URL": 'p://u:"$x"@h/d',
        "LANG": "C",
    }
    write_shell_file(tmp_path, given, {}, KEY="pa_1")

    assert read_shell_file(tmp_path) == {name: given[name] for name in given if name != "LANG"}
    assert read_shell_file(tmp_path / "elsewhere") == {}
