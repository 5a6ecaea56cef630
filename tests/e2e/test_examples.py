"""The examples, run as they stand beside a running archive."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from standalone.demo.receiver import CallbackReceiver
from standalone.ports import choose_port
from standalone.processes.child_process import guarded
from tests.e2e.archive import RunningArchive
from tests.e2e.pictures import dated_photo
from tests.servers import first_port

EXAMPLES = Path(__file__).parents[2] / "examples"
PORT_OFFSET = 470  # away from the session's own servers


@contextmanager
def running(
    name: str, *arguments: str, environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Run an example until left."""
    with subprocess.Popen(
        guarded([sys.executable, str(EXAMPLES / name), *arguments]),
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that an example prints."""
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize(
    ("name", "printed"),
    [("receiver.py", "query.no_match []\n"), ("receiver_stdlib.py", "query.no_match []\n")],
)
def test_a_receiver_prints_what_was_matched(
    archive: RunningArchive, name: str, printed: str
) -> None:
    port = choose_port(first_port() + PORT_OFFSET)
    environment = {"WEBHOOK_SECRET": archive.access.signing_secret, "PORT": str(port)}
    with running(name, environment=environment) as receiver:
        asked = {"text": "nothing of this", "callback_url": f"http://127.0.0.1:{port}/hook"}
        answer = archive.http.post("/images/tags", json=asked)

        assert answer.status_code == 202, answer.text
        assert line_of(receiver) == printed, "no match, signed by this key's secret"


def test_the_script_uploads_asks_and_shows_the_answer(
    archive: RunningArchive, receiver: CallbackReceiver, tmp_path: Path
) -> None:
    photo = tmp_path / "holiday.jpg"
    photo.write_bytes(dated_photo().content)
    known = {"URL": archive.supervisor.ingress_url, "KEY": archive.access.key}

    done = subprocess.run(
        ["sh", str(EXAMPLES / "upload_and_ask.sh"), str(photo), 'a "cat"', receiver.url],
        env=os.environ | known,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "answered"
    callback = receiver.take(timeout_s=30)
    assert callback is not None
    assert callback.body["data"]["text"] == 'a "cat"'


def test_the_listener_prints_the_tags_of_a_photo(archive: RunningArchive) -> None:
    login = archive.supervisor.kafka.environment
    with running("listen_to_tags.py", archive.bootstrap, environment=login) as listener:
        files = {"file": ("listened.jpg", dated_photo().content)}
        answer = archive.http.post("/images/upload", files=files)
        tags = archive.tags_of(answer.json()["images"][0]["image_id"])["tags"]

        # It begins with the topic's first record: what other tests have uploaded comes before.
        lines = iter(lambda: line_of(listener), "")
        heard = next(line for line in lines if line.startswith("listened.jpg "))

    assert heard == f"listened.jpg {[tag['tag'] for tag in tags]}\n"
