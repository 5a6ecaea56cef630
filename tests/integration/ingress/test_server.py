"""`python -m ingress` as a process: the wire, its limits, and the way out."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.messaging.kafka.topics import ensure_topics
from core.settings import KafkaSettings
from schemas.topics import plan_topics
from tests.command import run_command
from tests.fakes.pictures import jpeg
from tests.integration.ingress.conftest import REPOSITORY, Running, free_port
from tests.integration.ingress.photos.test_accepting import all_values

MIB = 1024 * 1024


def make_key(scopes: str = "upload,query,read") -> str:
    done = run_keys("create", "--owner", "alice", "--scopes", scopes, "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["key"])


def run_keys(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_command("keys", *arguments)


def post_raw(server: Running, key: str, content: object) -> httpx.Response:
    headers = {"X-API-Key": key, "Content-Type": "image/jpeg"}
    return httpx.post(
        f"{server.url}/images/upload",
        content=content,  # type: ignore[arg-type]
        headers=headers,
        timeout=30,
    )


def answer_of(connection: socket.socket) -> bytes:
    """All that the server says until it closes the connection."""
    connection.settimeout(20)
    said = b""
    while piece := connection.recv(65536):
        said += piece
    return said


def test_uploads_over_the_wire_up_to_the_limit_and_not_beyond(
    start: Callable[..., Running],
) -> None:
    server, key = start(), make_key()

    def pieces(total: int) -> Iterator[bytes]:
        yield jpeg(1)
        for _ in range(total // MIB):
            yield bytes(MIB)

    ok = post_raw(server, key, jpeg(1))
    announced = post_raw(server, key, jpeg(1) + bytes(30 * MIB))
    chunked = post_raw(server, key, pieces(30 * MIB))
    after = post_raw(server, key, pieces(20 * MIB))

    assert ok.status_code == 202, ok.text
    for refused in (announced, chunked):
        assert refused.status_code == 413
        assert refused.json()["code"] == "body_too_large"
        assert str(25 * MIB) in refused.json()["detail"]
    assert after.status_code == 202  # 20 MiB of a JPEG with a long tail, without a length


def test_many_files_of_one_request_hold_one_in_memory(start: Callable[..., Running]) -> None:
    server, key = start(), make_key()
    big = jpeg(1) + bytes(20 * MIB)
    for _ in range(2):  # warm up: pools, parser, connection buffers
        assert post_raw(server, key, big).status_code == 202
    before = peak_mib(server.process.pid)

    files = [("file", (f"{n}.jpg", big + bytes([n]), "image/jpeg")) for n in range(10)]
    response = httpx.post(
        f"{server.url}/images/upload", files=files, headers={"X-API-Key": key}, timeout=60
    )

    assert len(response.json()["images"]) == 10
    # 10 x 20 MiB went through; whole in memory they would be 200 MiB more.
    assert peak_mib(server.process.pid) - before < 60


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def test_headers_that_drip_end_the_connection(start: Callable[..., Running]) -> None:
    server = start(INGRESS_HEADER_TIMEOUT_S="1")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        started = time.monotonic()
        stop = threading.Event()

        def drip() -> None:
            for byte in b"GET /livez HTTP/1.1\r\nX-Slow: " + b"a" * 1000:
                if stop.wait(0.1):
                    return
                try:
                    connection.send(bytes([byte]))
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            said = answer_of(connection)
        except ConnectionResetError:
            said = b""
        finally:
            stop.set()
            dripping.join()

    assert said == b""
    assert 0.8 < time.monotonic() - started < 10


def test_a_silent_connection_is_ended(start: Callable[..., Running]) -> None:
    server = start(INGRESS_HEADER_TIMEOUT_S="0.5")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        assert answer_of(connection) == b""


def test_a_kept_connection_takes_many_requests_in_spite_of_the_limit(
    start: Callable[..., Running],
) -> None:
    server = start(INGRESS_HEADER_TIMEOUT_S="0.5")
    with httpx.Client(base_url=server.url) as client:
        for _ in range(4):
            assert client.get("/livez").status_code == 200
            time.sleep(0.3)


def test_what_is_no_http_or_too_long_is_refused_with_a_problem(
    start: Callable[..., Running],
) -> None:
    server = start()
    target = b"GET /images?text=" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    header = b"GET /images HTTP/1.1\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n"
    garbage = b"\x16\x03\x01 this is no HTTP\r\n\r\n"

    for said, status, code in (
        (target, 414, "target_too_long"),
        (header, 431, "head_too_large"),
        (garbage, 400, "malformed_request"),
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(said)
            answer = answer_of(connection)
        check_problem(answer, status, code)


def test_headers_without_end_cost_no_memory_and_nobody_waits(start: Callable[..., Running]) -> None:
    server = start()
    with httpx.Client(base_url=server.url) as client:
        client.get("/livez")
        before = peak_mib(server.process.pid)
        sending = [
            threading.Thread(target=send_endlessly, args=(server.port, line, 100 * MIB))
            for line in (b"X-Long: " + b"a" * 1000 + b"\r\n", b"a" * 1000)
            for _ in range(10)
        ]
        for one in sending:
            one.start()
        longest = 0.0
        while any(one.is_alive() for one in sending):
            started = time.monotonic()
            assert client.get("/livez").status_code == 200
            longest = max(longest, time.monotonic() - started)
        for one in sending:
            one.join()

    assert peak_mib(server.process.pid) - before < 100  # twenty times 100 MiB were sent
    assert longest < 5


def send_endlessly(port: int, line: bytes, size: int) -> None:
    """Send header lines until all are sent or the connection ends."""
    with socket.create_connection(("127.0.0.1", port)) as connection, suppress(OSError):
        connection.settimeout(30)
        connection.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        for _ in range(size // (len(line) * 100)):
            connection.sendall(line * 100)


def test_too_many_requests_are_refused_with_a_problem(start: Callable[..., Running]) -> None:
    server = start(INGRESS_MAX_CONNECTIONS="2")
    begun = b"POST /images/upload HTTP/1.1\r\nX-API-Key: %b\r\nContent-Length: 1000\r\n"
    begun += b"Content-Type: image/jpeg\r\n\r\n"
    request = b"GET /docs/problems HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    probe = request.replace(b"/docs/problems", b"/livez")

    with ExitStack() as held:
        for _ in range(2):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(begun % make_key().encode())
        answer = wait_for_answer(server.port, request, b"HTTP/1.1 503 ")
        alive = wait_for_answer(server.port, probe, b"HTTP/1.1 200 ")
    after = wait_for_answer(server.port, request, b"HTTP/1.1 200 ")

    check_problem(answer, 503, "overloaded")
    assert b"\r\nretry-after: 1\r\n" in answer
    assert alive
    assert after


def wait_for_answer(port: int, request: bytes, start: bytes) -> bytes:
    """Ask until the answer begins so; what was begun before is noticed a moment later."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
            answer = answer_of(connection)
        if answer.startswith(start):
            return answer
    raise AssertionError(answer)


def check_problem(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    document = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\ncontent-type: application/problem+json\r\n" in head
    assert b"\r\nx-content-type-options: nosniff\r\n" in head
    assert f"x-request-id: {document['request_id']}\r\n".encode() in head
    assert (document["status"], document["code"]) == (status, code)


def test_a_body_that_drips_ends_with_408(start: Callable[..., Running]) -> None:
    server = start(INGRESS_RECEIVE_TIMEOUT_S="0.5")
    key = make_key()
    request = (
        f"POST /images/upload HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
        "Content-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n\xff"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request.encode("latin-1"))
        said = answer_of(connection)

    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"receive_timeout" in said


def test_a_wrong_key_is_answered_before_the_body_is_sent(start: Callable[..., Running]) -> None:
    server = start()
    request = (
        "POST /images/upload HTTP/1.1\r\nHost: x\r\nX-API-Key: wrong\r\nConnection: close\r\n"
        "Content-Type: image/jpeg\r\nContent-Length: 1000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request.encode())
        said = answer_of(connection)

    assert said.startswith(b"HTTP/1.1 401 ")


def test_a_host_header_changes_nothing(start: Callable[..., Running]) -> None:
    server = start()
    request = "GET /images HTTP/1.1\r\nHost: evil/livez?\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request.encode())
        said = answer_of(connection)

    assert said.startswith(b"HTTP/1.1 401 ")
    assert b"evil" not in said


def test_a_signal_first_unreadies_then_drains_then_ends_with_0(
    start: Callable[..., Running],
) -> None:
    server = start(INGRESS_STOP_DELAY_S="5")
    key = make_key()
    gate, sending = threading.Event(), threading.Event()
    answers: list[httpx.Response] = []

    def slow() -> Iterator[bytes]:
        picture = jpeg(1)
        yield picture[:100]
        sending.set()
        gate.wait(30)
        yield picture[100:]

    under_way = threading.Thread(target=lambda: answers.append(post_raw(server, key, slow())))
    with httpx.Client(base_url=server.url) as client:  # made before: it takes its time
        under_way.start()
        assert sending.wait(30)
        server.process.send_signal(signal.SIGTERM)
        ready = client.get("/readyz")
        while ready.status_code == 200:
            time.sleep(0.02)
            ready = client.get("/readyz")
        alive = client.get("/livez")
    gate.set()
    under_way.join()

    assert (ready.status_code, ready.text) == (503, "stopping\n")
    assert alive.status_code == 200
    assert answers[0].status_code == 202
    assert server.process.wait(15) == 0
    assert '"event": "stopped"' in server.log.read_text()


def test_a_port_that_is_taken_is_a_wrong_setting(start: Callable[..., Running]) -> None:
    server = start()
    done = run_server(INGRESS_PORT=str(server.port))

    assert done.returncode == 2
    assert "INGRESS_PORT" in done.stderr


def run_server(**variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ingress"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://root@localhost/photos"),
        ("INGRESS_PORT", "99999"),
        ("INGRESS_MAX_FILES", "many"),
        ("ARCHIVE_ROOTS", "photos=relative/path"),
        ("ARCHIVE_BLOBS", "ftp://x"),
        ("SECRETS_KEY", "short"),
        ("EGRESS_ALLOWED_PORTS", "http"),
    ],
)
def test_a_wrong_setting_ends_it_at_the_start_with_its_name(
    environment: Callable[..., None], variable: str, value: str
) -> None:
    done = run_server(**{"INGRESS_PORT": str(free_port()), variable: value})

    assert done.returncode == 2, done.stderr
    assert variable in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_does_not_exist_is_a_wrong_setting(
    environment: Callable[..., None], database_url: str
) -> None:
    done = run_server(INGRESS_PORT=str(free_port()), DATABASE_URL=f"{database_url}_not")

    assert done.returncode == 2, done.stderr
    assert "configuration: DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_tls_is_served_by_the_process_itself(start: Callable[..., Running], tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    server = start(INGRESS_SSL_CERTFILE=str(certificate), INGRESS_SSL_KEYFILE=str(key))

    answer = httpx.get(
        f"{server.url}/livez", verify=ssl.create_default_context(cafile=str(certificate))
    )

    assert answer.status_code == 200
    assert "max-age" in answer.headers["strict-transport-security"]


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "archive")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def test_accepted_without_a_broker_published_by_the_next_process(
    start: Callable[..., Running], kafka_bootstrap: str, topics_prefix: str
) -> None:
    key = make_key()
    first = start()
    assert post_raw(first, key, jpeg(1)).status_code == 202
    first.process.kill()  # nothing is said in farewell
    settings = KafkaSettings(bootstrap_servers=kafka_bootstrap, topic_prefix=topics_prefix)
    asyncio.run(ensure_topics(settings, plan_topics()))

    start(KAFKA_BOOTSTRAP_SERVERS=kafka_bootstrap, KAFKA_TOPIC_PREFIX=topics_prefix)

    values = asyncio.run(all_values(kafka_bootstrap, f"{topics_prefix}images.arrived.v1", 1))
    assert len(values) == 1


@pytest.mark.parametrize("command", [["--owner", ""], ["--scopes", "all"], []])
def test_a_wrong_command_line_is_exit_code_2(
    environment: Callable[..., None], command: list[str]
) -> None:
    done = run_keys("create", *command)

    assert done.returncode == 2
    assert "Usage" in done.stderr


def test_a_revoked_key_ends_within_seconds_everywhere(start: Callable[..., Running]) -> None:
    server, key = start(), make_key()
    assert post_raw(server, key, jpeg(1)).status_code == 202

    done = run_keys("revoke", key.split("_")[1])

    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 10
    while post_raw(server, key, jpeg(1)).status_code != 401:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert run_keys("revoke", key.split("_")[1]).returncode == 1
