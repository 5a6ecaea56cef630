"""What `--help` shows of every command, and what it costs."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from photo_archive.app import app
from tests.documents import ROOT, documents

#: What takes long to import: servers' clients, the model's libraries, settings, the progress bar.
HEAVY = ("aiokafka", "asyncpg", "httpx", "open_clip", "pydantic", "rich", "spacy", "torch")


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    for name, inner in getattr(command, "commands", {}).items():
        if getattr(inner, "commands", None):
            yield from leaves(inner, (*words, name))
        else:
            yield (*words, name), inner


#: A call of the command in a document: its first word and, where there is one, the second. Behind
#: `-n` it is a namespace of Kubernetes.
# What Kubernetes calls so is no command.
CALL = re.compile(
    r"(?<!-n )(?<!/)(?<!secret )(?<!configmap )photo-archive ([a-z]+)(?: ([a-z][a-z-]+))?"
)
COMMANDS = dict(leaves(get_command(app)))
LINES = sorted(COMMANDS)


def test_every_command_is_here() -> None:
    assert {" ".join(words) for words in LINES} == {
        "up", "demo", "servers", "link", "status",
        "images", "watch", "retag", "queries", "migrate", "reset", "backup", "restore",
        "forgotten",
        "keys create", "keys list", "keys revoke", "keys signing-secret", "keys secret",
        "keys reseal", "endpoints list", "endpoints remove",
        "labels add", "labels list", "labels set", "letters list", "letters replay",
        "deliveries redeliver", "targets list", "targets disable", "targets resume",
        "weights convert",
    }  # fmt: skip


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_help_has_an_example_and_says_what_the_exit_codes_mean(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"])

    assert done.exit_code == 0
    _, _, end = done.output.partition("Example")
    assert f"    photo-archive {' '.join(words)}" in end
    _, _, codes = end.partition("Exit codes:")
    assert [line.split()[0] for line in codes.splitlines() if line.strip()] == ["0", "1", "2"]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_the_examples_are_understood(words: tuple[str, ...]) -> None:
    """Each option of an example is one of its command: nothing is run."""
    command = COMMANDS[words]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    examples = [line.strip() for line in command.epilog.splitlines() if "photo-archive" in line]
    used = {word for line in examples for word in line.split() if word.startswith("--")}

    assert examples
    assert used <= known


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_documents_name_commands_that_there_are(page: Path) -> None:
    firsts = {words[0] for words in LINES}
    groups = {words[0] for words in LINES if len(words) > 1}
    unknown = {
        f"{first} {second}".strip()
        for first, second in CALL.findall(page.read_text(encoding="utf-8"))
        if first not in firsts or (first in groups and second and (first, second) not in LINES)
    }

    assert unknown == set()


def test_an_unknown_command_and_an_unknown_option_are_wrong_usage() -> None:
    for words in (["replay"], ["keys", "make"], ["images"], ["keys", "list", "--all"]):
        assert CliRunner().invoke(app, words).exit_code == 2, words


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from photo_archive.app import app; app(['--help'], standalone_mode=False);"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert "photo-archive" in done.stdout or "Usage" in done.stdout
    assert done.stderr.strip() == "[]"
