"""Weights from the hub's cache and from a hub, which is a server on this machine here."""

import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from core import weights
from core.errors import ConfigurationError
from tests.documents import ROOT

REPOSITORY = "someone/tiny"
COMMIT = "c" * 40
SAFE, PICKLED = weights.WEIGHTS
AT_HAND = f"from core import weights; print(weights.at_hand({REPOSITORY!r}, weights.WEIGHTS))"
#: huggingface_hub alone repeats a question that nobody answers for 23 s.
SOON_S = 20.0


@dataclass
class Hub:
    """What a hub has, and what it was asked."""

    files: Mapping[str, bytes]
    closes: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(hub: Hub, context: ssl.SSLContext | None = None) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            body = self._answer()
            self.wfile.write(body)

        def _answer(self) -> bytes:
            hub.asked.append(f"{self.command} {self.path}")
            if hub.closes:
                self.close_connection = True
                return b""
            name = self.path.rpartition("/")[2]
            found = hub.files.get(name)
            self.send_response(200 if found is not None else 404)
            self.send_header("X-Repo-Commit", COMMIT)
            if found is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("ETag", f'"{name}"')
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            return found or b""

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if context else "http"
    hub.url = f"{scheme}://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def python(code: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code as a process that starts with these variables, as people set them."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "TRANSFORMERS_", "SSL_")) and "proxy" not in name.lower()
    }
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**own, "HF_HOME": str(home), **variables},
    )  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path / "models--someone--tiny"


def put(folder: Path, name: str, revision: str = COMMIT) -> Path:
    path = folder / "snapshots" / revision / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_a_mirror_gives_the_weights_once_and_is_asked_for_nothing_else(tmp_path: Path) -> None:
    with serving(Hub({SAFE: b"weights"})) as hub:
        first = python(AT_HAND, tmp_path, HF_ENDPOINT=hub.url)
        asked = list(hub.asked)
        second = python(AT_HAND, tmp_path, HF_ENDPOINT=hub.url)

    assert Path(first.stdout.strip()).read_bytes() == b"weights", first.stderr
    assert {each.rpartition("/")[2] for each in asked} == {SAFE}
    assert second.stdout == first.stdout
    assert hub.asked == asked, "what is cached is not asked for"


def test_a_file_that_the_hub_lacks_costs_one_request(tmp_path: Path) -> None:
    with serving(Hub({PICKLED: b"weights"})) as hub:
        done = python(AT_HAND, tmp_path, HF_ENDPOINT=hub.url)

    assert Path(done.stdout.strip()).name == PICKLED, done.stderr
    assert sum(SAFE in each for each in hub.asked) == 1


def test_a_hub_with_neither_file_is_asked_for_both_and_named(tmp_path: Path) -> None:
    with serving(Hub({})) as hub:
        done = python(AT_HAND, tmp_path, HF_ENDPOINT=hub.url)

    assert f"{hub.url} has no {SAFE} and no {PICKLED} of {REPOSITORY}" in done.stderr
    assert len(hub.asked) == 2


def test_a_hub_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    with serving(Hub({}, closes=True)) as hub:
        began = time.monotonic()
        done = python(AT_HAND, tmp_path, HF_ENDPOINT=hub.url)
        took_s = time.monotonic() - began

    assert f"{hub.url} does not give it: RemoteProtocolError" in done.stderr
    assert len(hub.asked) == 1
    assert took_s < SOON_S


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_hub_that_must_not_be_asked_is_not(variable: str, tmp_path: Path) -> None:
    with serving(Hub({SAFE: b"weights"})) as hub:
        done = python(AT_HAND, tmp_path, HF_ENDPOINT=hub.url, **{variable: "1"})

    assert "HF_HUB_OFFLINE forbids asking" in done.stderr
    assert hub.asked == []


def test_what_is_cached_needs_no_hub(tmp_path: Path) -> None:
    put(tmp_path / "hub" / "models--someone--tiny", SAFE)
    done = python(AT_HAND, tmp_path, HF_HUB_OFFLINE="1")
    assert Path(done.stdout.strip()).read_bytes() == b"weights", done.stderr


def test_a_proxy_is_used(tmp_path: Path) -> None:
    """The hub's name is not even looked up here: the proxy is given it."""
    with serving(Hub({SAFE: b"weights"})) as proxy:
        done = python(AT_HAND, tmp_path, HF_ENDPOINT="http://hub.invalid", HTTP_PROXY=proxy.url)

    assert Path(done.stdout.strip()).read_bytes() == b"weights", done.stderr
    assert all("http://hub.invalid/" in each for each in proxy.asked)


def test_an_own_certificate_authority_is_trusted_by_its_variable(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    roots = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(roots))

    with serving(Hub({SAFE: b"weights"}), context) as hub:
        trusting = python(AT_HAND, tmp_path, HF_ENDPOINT=hub.url, SSL_CERT_FILE=str(roots))
        other = python(
            AT_HAND, tmp_path / "empty", HF_ENDPOINT=hub.url, REQUESTS_CA_BUNDLE=str(roots)
        )

    assert Path(trusting.stdout.strip()).read_bytes() == b"weights", trusting.stderr
    assert "set SSL_CERT_FILE" in other.stderr, "REQUESTS_CA_BUNDLE is not read any more"


def test_the_safe_format_is_taken_where_both_are_cached(cache: Path) -> None:
    put(cache, PICKLED)
    safe = put(cache, SAFE)
    assert _found() == safe


def test_a_ref_says_which_snapshot_is_meant(cache: Path) -> None:
    put(cache, SAFE, "a" * 40)
    meant = put(cache, SAFE, "b" * 40)
    os.utime(cache / "snapshots" / ("b" * 40), (1, 1))  # the older one
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("b" * 40)
    assert _found() == meant


def test_without_a_ref_the_newest_snapshot_that_has_weights_is_taken(cache: Path) -> None:
    put(cache, SAFE, "a" * 40)
    newer = put(cache, PICKLED, "b" * 40)
    put(cache, "README.md", "c" * 40)
    for number, revision in enumerate("abc"):
        os.utime(cache / "snapshots" / (revision * 40), (number, number))
    assert _found() == newer


def test_a_ref_to_a_snapshot_without_weights_leads_to_none(cache: Path) -> None:
    put(cache, SAFE, "a" * 40)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("b" * 40)
    assert _found() is None


def _found() -> Path | None:
    return weights.cached(REPOSITORY, weights.WEIGHTS)


@pytest.mark.parametrize("tag", ["openai", "laion2b_s34b_b79k", "metaclip-400m"])
def test_a_tag_names_no_file(tag: str) -> None:
    assert weights.named_file(tag) is None


@pytest.mark.parametrize(
    ("named", "refused"),
    [
        (lambda folder: folder, "a folder. .* TAGGING_MODEL=local-dir:"),
        (lambda folder: folder / "none.bin", "there is no file"),
        (lambda _: "vit.safetensors", "there is no file"),
        (lambda _: "~nobody-here/x", "there is no file ~nobody-here/x"),
    ],
)
def test_what_looks_like_a_file_must_be_one(
    named: Callable[[Path], object], refused: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=refused):
        weights.named_file(str(named(tmp_path)))
