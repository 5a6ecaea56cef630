"""The commands of README.md are run as they are written there."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from standalone.demo.photos import FREE_PHOTOS
from standalone.demo.receiver import CallbackReceiver
from tests.command import run_command
from tests.e2e.archive import RunningArchive
from tests.e2e.pictures import dated_photo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE_CALLBACK = "http://127.0.0.1:9000/hook"


def blocks(language: str) -> str:
    """Return all code blocks of a language, in order."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL))


SHELL = blocks("sh").replace("\\\n", " ")


@dataclass(slots=True)
class Curl:
    """A curl command of the README: its request, and the status in the comment below it."""

    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    file: str | None = None
    data: str | None = None

    def send(self, http: httpx.Client, photo: bytes) -> httpx.Response:
        """Send the request that curl would send."""
        if self.file is not None:
            return http.post(self.url, headers=self.headers, files={"file": (self.file, photo)})
        if self.data is not None:
            return http.post(self.url, headers=self.headers, content=self.data.encode())
        return http.get(self.url, headers=self.headers)


def curls() -> Iterator[tuple[Curl, int]]:
    """Return the curl commands with the statuses that the README shows."""
    for command, status in re.findall(r"^curl (.+)\n# (\d{3}) ", SHELL, re.MULTILINE):
        words = iter(shlex.split(command))
        curl = Curl()
        for word in words:
            match word:
                case "-H":
                    name, _, value = next(words).partition(":")
                    curl.headers[name] = value.strip()
                case "-F":
                    curl.file = next(words).partition("=@")[2]
                case "-d":
                    curl.data = next(words)
                case _:
                    curl.url = word
        yield curl, int(status)


def test_the_requests_get_the_statuses_that_are_shown(
    archive: RunningArchive, receiver: CallbackReceiver
) -> None:
    photo, image_id, seen = dated_photo(), "", 0
    for curl, status in curls():
        curl.url = curl.url.replace("$URL", "").replace("<image_id>", image_id)
        curl.headers = {
            name: value.replace("$KEY", archive.access.key)
            for name, value in curl.headers.items()
        }  # fmt: skip
        if curl.data is not None:
            assert EXAMPLE_CALLBACK in curl.data
            curl.data = curl.data.replace(EXAMPLE_CALLBACK, receiver.url)

        response = curl.send(archive.http, photo.content)

        assert response.status_code == status, response.text
        if curl.file is not None:
            folder, name = Path(curl.file).parent, Path(curl.file).name
            assert (str(folder), name) == ("var/demo/photos", "chelsea-the-cat.png")
            assert name in {photo for _, _, photo in FREE_PHOTOS}, "a plain make demo writes it"
            image_id = response.json()["images"][0]["image_id"]
            archive.tags_of(image_id)
        seen += 1
    assert seen == 3
    callback = receiver.take(timeout_s=30)
    assert callback is not None
    assert callback.body["data"]["lemmas"] == ["кошка", "on", "the", "beach"]


def test_the_statements_run(archive: RunningArchive) -> None:
    statements = [line for line in blocks("sql").splitlines() if line.strip()]

    assert len(statements) == 2
    for statement in statements:
        archive.sql(statement)


def test_the_commands_work(archive: RunningArchive, tmp_path: Path) -> None:
    """With a directory, a file and a topic of ours; `watch` has a test of its own."""
    made = archive.json_of(archive.command("keys", "signing-secret", "--instance", "--json"))
    with CallbackReceiver(made["signing_secret"], tmp_path / "callbacks") as receiver:
        run_commands(archive, receiver, tmp_path)


def run_commands(archive: RunningArchive, receiver: CallbackReceiver, tmp_path: Path) -> None:
    (archive.photos / "readme").mkdir()
    (archive.photos / "readme" / "photo.jpg").write_bytes(dated_photo().content)
    (tmp_path / "questions.txt").write_text("a dog on the beach\n")
    given = {
        "DIR": str(archive.photos / "readme"),
        "FILE": str(tmp_path / "questions.txt"),
        "TOPIC": "queries.submitted.v1",
        EXAMPLE_CALLBACK: receiver.url,
    }
    run = []
    for line in re.findall(r"^photo-archive (?!watch)(.*)", SHELL, re.MULTILINE):
        words = [given.get(word, word) for word in shlex.split(line, comments=True)]
        done = archive.command(*words)
        assert done.returncode == 0, (words, done.stderr)
        run.append(words[0])

    assert run == ["images", "queries", "letters"]
    assert receiver.take(timeout_s=30) is not None


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`photo-archive ([a-z -]+)", README))))
def test_the_commands_that_are_named_are_there(command: str) -> None:
    words = [word for word in command.split() if not word.startswith("-")]
    done = run_command(*words, "--help")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^(make [\w-]+)", SHELL, re.MULTILINE))))
def test_the_make_targets_are_there(command: str) -> None:
    make, *arguments = command.split()
    done = subprocess.run(
        [make, "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_files_that_are_linked_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
