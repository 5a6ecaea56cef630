"""What `up` says: the right address, and only when somebody listens there."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import trustme

from core.settings import StandaloneSettings
from standalone import main
from standalone.demo.archive_client import ArchiveClient
from standalone.main import _say_ways_in
from standalone.shell import FILE_NAME
from standalone.supervision.model_choice import ModelChoice
from standalone.supervision.plan import StandalonePlan
from standalone.supervision.supervisor import Supervisor

LIMIT_S = 60


class FakeIngress:
    """Answers as an ingress that is ready only after it was told to be."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        ingress = self
        self.is_ready = threading.Event()
        self.was_asked = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ingress.was_asked.set()
                self.answer({}, 200 if ingress.is_ready.is_set() else 503)

            def do_POST(self) -> None:
                self.answer({"url": f"{ingress.url}/?code=1"}, 201)

            def answer(self, body: Any, status: int) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        if context is not None:
            self._scheme = "https"
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class FakeSupervisor:
    def __init__(self, url: str) -> None:
        self.ingress_url = url

    def environment(self) -> dict[str, str]:
        return {"DATABASE_URL": "postgresql://here"}

    def wait(self, timeout_s: float) -> bool:
        del timeout_s
        return False


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a certificate for a name that is not the loopback address, and its key."""
    made = trustme.CA().issue_cert("photos.example")
    path = tmp_path / "tls.pem"
    made.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


@pytest.fixture
def tls(certificate: Path) -> Iterator[FakeIngress]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    ingress = FakeIngress(context)
    ingress.is_ready.set()
    yield ingress
    ingress.close()


def plan_of(home: Path, certificate: Path | None = None) -> StandalonePlan:
    for name in ("demo", "admin"):
        kept = {"key": f"pa_{name}", "signing_secret": "whsec_x"}
        (home / f"{name}-key.json").write_text(json.dumps(kept))
    return StandalonePlan(
        settings=StandaloneSettings(home=home),
        cache=home,
        model=ModelChoice("demo", "for a test"),
        secrets_key="key",
        archive_roots="",
        inherited={},
        certificate=certificate,
    )


def test_nothing_is_said_to_be_up_before_it_takes_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(main, "say", said.append)
    ingress = FakeIngress()
    supervisor = cast("Supervisor", FakeSupervisor(ingress.url))
    telling = threading.Thread(target=_say_ways_in, args=(plan_of(tmp_path), supervisor))

    telling.start()
    assert ingress.was_asked.wait(LIMIT_S)
    before = list(said)
    ingress.is_ready.set()
    telling.join(LIMIT_S)
    ingress.close()

    assert before == []
    assert said[0].startswith(f"up: {ingress.url}, logs in ")
    assert f"the page:  {ingress.url}/?code=1" in said


def test_other_terminals_get_the_keys_and_one_that_may_do_everything(tmp_path: Path) -> None:
    ingress = FakeIngress()
    ingress.is_ready.set()

    _say_ways_in(plan_of(tmp_path), cast("Supervisor", FakeSupervisor(ingress.url)))
    ingress.close()

    text = (tmp_path / FILE_NAME).read_text()
    assert f"export URL={ingress.url}\n" in text
    assert "export KEY=pa_demo\n" in text
    assert "export ADMIN=pa_admin\n" in text
    assert "export WEBHOOK_SECRET=whsec_x\n" in text


def test_with_tls_the_address_says_so(tmp_path: Path, certificate: Path) -> None:
    plain = Supervisor(plan_of(tmp_path), say=print)
    secure = Supervisor(plan_of(tmp_path, certificate), say=print)

    assert plain.ingress_url.startswith("http://127.0.0.1:")
    assert secure.ingress_url.startswith("https://127.0.0.1:")


def test_our_own_requests_trust_the_archives_certificate_and_no_other(
    tls: FakeIngress, certificate: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("127.0.0.1").cert_chain_pems[0].write_to_path(str(other))

    with ArchiveClient(tls.url, "key", certificate) as archive:
        archive.wait_until_ready(LIMIT_S)
        assert archive.page_link() == f"{tls.url}/?code=1"
    for wrong in (None, other):
        with ArchiveClient(tls.url, "key", wrong) as archive, pytest.raises(httpx.ConnectError):
            archive.page_link()
