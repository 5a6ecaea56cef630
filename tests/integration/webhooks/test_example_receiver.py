"""The receiver of the examples that needs nothing but Python: what it believes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from standalone.ports import choose_port
from standalone.processes.child_process import guarded
from tests.servers import first_port

EXAMPLE = Path(__file__).parents[3] / "examples" / "receiver_stdlib.py"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
BODY = '{"type": "query.completed", "data": {"matched": ["cat"]}}'
PORT_OFFSET = 480  # away from the session's own servers


class Example:
    """The receiver as a process, and what it prints."""

    def __init__(self, url: str, process: "subprocess.Popen[str]") -> None:
        self.url = url
        self.process = process

    def post(self, headers: dict[str, str], body: str = BODY) -> int:
        """Return the status that it answers with."""
        with httpx.Client(trust_env=False) as http:
            return http.post(self.url, headers=headers, content=body).status_code

    def printed(self) -> list[str]:
        """Return all that it printed, and end it."""
        self.process.terminate()
        assert self.process.stdout is not None
        return self.process.stdout.read().splitlines()


@pytest.fixture
def example() -> Iterator[Example]:
    port = choose_port(first_port() + PORT_OFFSET)
    with subprocess.Popen(
        guarded([sys.executable, str(EXAMPLE)]),
        env=os.environ | {"WEBHOOK_SECRET": SECRET, "PORT": str(port)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        started = Example(f"http://127.0.0.1:{port}/hook", process)
        deadline = time.monotonic() + 20
        while True:
            try:
                started.post({})
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline, "it does not listen"
                time.sleep(0.05)
        yield started
        process.kill()


def signed(webhook_id: str, *, secret: str = SECRET, age_s: float = 0) -> dict[str, str]:
    """Return the headers of a webhook, signed by the published library."""
    sent_at = datetime.now(UTC) - timedelta(seconds=age_s)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, sent_at, BODY),
    }


def test_a_signed_answer_is_believed_once(example: Example) -> None:
    headers = signed("msg_1")

    assert [example.post(headers), example.post(headers)] == [204, 204]
    assert example.printed() == ["query.completed ['cat']"]


def test_while_a_secret_is_changed_one_of_two_signatures_is_enough(example: Example) -> None:
    headers = signed("msg_2")
    other = signed("msg_2", secret=OTHER)["webhook-signature"]
    headers["webhook-signature"] = f"{other} {headers['webhook-signature']}"

    assert example.post(headers) == 204


def test_what_was_not_signed_by_the_secret_is_refused(example: Example) -> None:
    statuses = [
        example.post({}),
        example.post(signed("msg_3", secret=OTHER)),
        example.post(signed("msg_3"), body=BODY.replace("cat", "dog")),
        example.post(signed("msg_3") | {"webhook-id": "msg_4"}),
        example.post(signed("msg_3") | {"webhook-timestamp": "soon"}),
    ]

    assert statuses == [401] * 5
    assert example.printed() == []


def test_an_old_recording_is_refused(example: Example) -> None:
    assert example.post(signed("msg_5", age_s=301)) == 401
