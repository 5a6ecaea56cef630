"""Whoever takes the port of a controller that is down learns no password."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from standalone.kafka.certificate import KEY_FILE, make_certificate
from standalone.kafka.data_directory import PROPERTIES_FILE, BrokerPlace, write_properties
from standalone.kafka.handshake import admit_clients
from standalone.kafka.logins import load_logins
from standalone.ports import HOST

ASK_S = 10.0


@contextmanager
def impostor(own: Path | None) -> Iterator[tuple[int, list[bytes]]]:
    """Listen with a certificate of one's own, or none; yield the port and what is heard."""
    heard: list[bytes] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if own is not None:
        context.load_cert_chain(own / KEY_FILE)
    with socket.create_server((HOST, 0)) as listening:

        def listen() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.settimeout(ASK_S)
                    shown = context.wrap_socket(connection, server_side=True) if own else connection
                    while piece := shown.recv(4096):
                        heard.append(piece)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield listening.getsockname()[1], heard
        thread.join(ASK_S)


@pytest.mark.parametrize("has_certificate", [True, False])
def test_a_stranger_at_a_controllers_port_is_told_nothing(
    tmp_path: Path, *, has_certificate: bool
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    logins, certificate = load_logins(ours), make_certificate(ours, HOST)
    make_certificate(theirs, HOST)

    with impostor(theirs if has_certificate else None) as (port, heard):
        is_open = admit_clients(HOST, port, logins, timeout_s=1.0, certificate=certificate)

    assert not is_open
    said = b"".join(heard)
    assert logins.controller.password.encode() not in said
    assert logins.controller.user.encode() not in said


def test_three_controllers_speak_tls_and_believe_the_homes_certificate_alone(
    tmp_path: Path,
) -> None:
    places = [BrokerPlace(number, 20_000 + number, 21_000 + number) for number in (1, 2, 3)]
    write_properties(tmp_path, HOST, places, 2, load_logins(tmp_path))
    text = (tmp_path / PROPERTIES_FILE).read_text()
    lines = text.splitlines()

    assert "node.id=2" in lines
    assert "controller.quorum.voters=1@127.0.0.1:21001,2@127.0.0.1:21002,3@127.0.0.1:21003" in lines
    assert "listener.security.protocol.map=CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_SSL" in lines
    assert "listener.name.controller.ssl.truststore.location=../controllers.pem" in lines
    assert {line for line in lines if line.startswith(("min.insync", "default.repl"))} == {
        "min.insync.replicas=2",
        "default.replication.factor=3",
    }
