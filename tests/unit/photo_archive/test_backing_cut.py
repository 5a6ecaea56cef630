"""A backup that a server's end interrupts says so in one line, and leaves nothing."""

from pathlib import Path

import pytest

from core.errors import DatabaseAway
from photo_archive.backing.programs import ProgramFailed
from photo_archive.backing.writing import BackupCutShort, emptied_unless_done

PG_DUMP = (
    "pg_dump ended with exit code 1: pg_dump: error: query failed: server closed the connection"
    " unexpectedly\n\tThis probably means the server terminated abnormally\n"
    "pg_dump: detail: Query was: COPY public.combo_best TO stdout;"
)


@pytest.mark.parametrize("error", [ProgramFailed(PG_DUMP), DatabaseAway("gone\nand more")])
def test_a_server_that_goes_away_is_one_line_with_what_to_do(
    tmp_path: Path, error: Exception
) -> None:
    def cut_short() -> None:
        with emptied_unless_done(tmp_path):
            (tmp_path / "database").touch()
            raise error

    with pytest.raises(BackupCutShort) as caught:
        cut_short()

    (line,) = str(caught.value).splitlines()
    assert str(error).splitlines()[0] in line
    assert "run it again" in line
    assert list(tmp_path.iterdir()) == []
