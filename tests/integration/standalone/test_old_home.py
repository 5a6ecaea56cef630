"""A home whose database is of an archive that cannot be upgraded: one sentence, not a traceback."""

import subprocess
from pathlib import Path

import asyncpg
import pytest

from standalone.postgres.server import EmbeddedPostgres
from tests.command import COMMAND
from tests.servers import first_port, run_apart

PORT_OFFSET = 360  # away from the session's own servers
START_S = 120


async def note_old_schema(url: str) -> None:
    """Let the database say that its schema is one that this version does not know."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)")
    await connection.execute("INSERT INTO alembic_version VALUES ('0014a')")
    await connection.close()


@pytest.mark.parametrize(
    "words", [("up",), ("demo", "--once", "--model", "demo")], ids=lambda words: str(words[0])
)
def test_an_old_home_is_told_in_one_sentence_and_left_alone(
    words: tuple[str, ...], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = first_port() + PORT_OFFSET
    server = EmbeddedPostgres(home, port)
    server.start()
    run_apart(note_old_schema(server.url))
    server.stop()
    for name, value in {
        "STANDALONE_HOME": str(home),
        "STANDALONE_POSTGRES_PORT": str(port),
        "STANDALONE_KAFKA_PORT": str(port + 1),
        "TAGGING_MODEL": "demo",
    }.items():
        monkeypatch.setenv(name, value)

    done = subprocess.run(
        [COMMAND, *words], capture_output=True, text=True, timeout=START_S, check=False
    )

    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("configuration: DATABASE_URL: the database has schema 0014a, ")
    assert f"`rm -rf {home.resolve()}`" in sentence, "the folder that is in use, not the default"
