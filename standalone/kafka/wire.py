"""Kafka's protocol, as much of it as the standalone mode speaks: frames, fields and SASL.

Written by hand after the protocol guide, so that the standalone mode needs no Kafka client.
"""

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from standalone.kafka.logins import Login

CORRELATION = 1
MAX_ANSWER_BYTES = 1024 * 1024
CLIENT_ID = b"photo-archive-standalone"
_SASL_HANDSHAKE, _SASL_AUTHENTICATE, _SASL_VERSION = 17, 36, 1
SCRAM: Final = "SCRAM-SHA-256"
PLAIN: Final = "PLAIN"
#: Ours has 4,096. Whoever took its port could have us compute for hours.
MOST_ITERATIONS = 65_536
#: What goes wrong on a connection: none, broken off, refused, or not Kafka's.
WIRE_ERRORS = (OSError, ValueError, struct.error)


class AnswerFields:
    """Reads the fields of an answer one after another.

    Raises:
        ValueError: it answers another request, or is incomplete.
    """

    def __init__(self, answer: bytes) -> None:
        self._content = answer
        self._at = 0
        if self.number(">i") != CORRELATION:
            raise ValueError("this answers another request")

    def number(self, layout: str) -> int:
        """Return a number of a `struct` layout."""
        size = struct.calcsize(layout)
        return int(struct.unpack(layout, self._take(size))[0])

    def text(self) -> str:
        """Return a text; empty where it is null."""
        size = self.number(">h")
        return self._take(size).decode() if size >= 0 else ""

    def content(self) -> bytes:
        """Return bytes; none where they are null."""
        return self._take(max(0, self.number(">i")))

    def compact_text(self) -> str:
        """Return a text of a flexible version, shorter than 127 bytes; empty where it is null."""
        return self._take(max(0, self.number(">B") - 1)).decode()

    def _take(self, size: int) -> bytes:
        piece = self._content[self._at : self._at + size]
        if len(piece) != size:
            raise ValueError("the answer breaks off")
        self._at += size
        return piece


class Wire:
    """A connection to a broker or controller."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def ask(self, api: int, version: int, body: bytes) -> AnswerFields:
        """Send a request; return the fields of its answer.

        Raises:
            OSError, ValueError, struct.error: see `WIRE_ERRORS`.
        """
        self._connection.sendall(encode_request(api, version, body))
        (size,) = struct.unpack(">i", self._receive(4))
        if not 0 < size <= MAX_ANSWER_BYTES:
            raise ValueError("this is no answer of Kafka's")
        return AnswerFields(self._receive(size))

    def log_in(self, mechanism: str, login: Login) -> None:
        """Log in; with SCRAM the other side proves as well that it knows the password.

        Raises:
            ValueError: the login was refused, or the other side does not know the password.
        """
        answer = self.ask(_SASL_HANDSHAKE, _SASL_VERSION, _text(mechanism))
        if answer.number(">h"):
            raise ValueError(f"{mechanism} is not spoken here")
        if mechanism == PLAIN:
            self._authenticate(f"\0{login.user}\0{login.password}".encode())
            return
        exchange = ScramExchange(login, secrets.token_hex(16))
        proof = exchange.proof(self._authenticate(exchange.first()))
        exchange.check(self._authenticate(proof))

    def _authenticate(self, said: bytes) -> bytes:
        body = struct.pack(">i", len(said)) + said
        answer = self.ask(_SASL_AUTHENTICATE, _SASL_VERSION, body)
        code, why = answer.number(">h"), answer.text()
        if code:
            raise ValueError(f"the login was refused: {why}")
        return answer.content()

    def _receive(self, size: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < size:
            piece = self._connection.recv(size - len(pieces))
            if not piece:
                raise ValueError("the connection was closed")
            pieces += piece
        return bytes(pieces)


class ScramExchange:
    """The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677)."""

    def __init__(self, login: Login, nonce: str) -> None:
        self._login = login
        self._nonce = nonce
        self._bare = f"n={login.user},r={nonce}"
        self._signature = b""

    def first(self) -> bytes:
        """Return the first message."""
        return f"n,,{self._bare}".encode()

    def proof(self, answer: bytes) -> bytes:
        """Return the second message, which proves that we know the password.

        Raises:
            ValueError: the answer is not one to our first message.
        """
        said = _pairs(answer)
        if not said.get("r", "").startswith(self._nonce):
            raise ValueError("this answers another login")
        salt, iterations = base64.b64decode(said.get("s", "")), int(said.get("i", "0"))
        if not salt or not 0 < iterations <= MOST_ITERATIONS:
            raise ValueError("this is no answer of our broker's")
        salted = salt_password(self._login.password, salt, iterations)
        final = f"c=biws,r={said['r']}"
        whole = f"{self._bare},{answer.decode()},{final}".encode()
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signed = hmac.digest(hashlib.sha256(client_key).digest(), whole, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signed, strict=True))
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), whole, "sha256")
        return f"{final},p={base64.b64encode(proof).decode()}".encode()

    def check(self, answer: bytes) -> None:
        """Refuse another side that does not know the password.

        Raises:
            ValueError: it does not.
        """
        said = base64.b64decode(_pairs(answer).get("v", ""))
        if not hmac.compare_digest(said, self._signature):
            raise ValueError("whoever listens there does not know the password")


def salt_password(password: str, salt: bytes, iterations: int) -> bytes:
    """Return SCRAM's salted password."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def encode_request(api: int, version: int, body: bytes) -> bytes:
    """Return a request with its length, for versions before the flexible ones."""
    header = struct.pack(">hhih", api, version, CORRELATION, len(CLIENT_ID)) + CLIENT_ID
    return struct.pack(">i", len(header + body)) + header + body


@contextmanager
def connected(
    host: str, port: int, *, timeout_s: float, certificate: Path | None = None
) -> Iterator[Wire]:
    """Yield a connection; by TLS where there is a certificate, with whom that is the other's.

    Raises:
        OSError: nobody listens there, or it took too long, or it is somebody else.
    """
    with ExitStack() as stack:
        connection = socket.create_connection((host, port), timeout=timeout_s)
        stack.enter_context(connection)
        connection.settimeout(timeout_s)
        if certificate is not None:
            context = ssl.create_default_context(cafile=certificate)
            connection = context.wrap_socket(connection, server_hostname=host)
            stack.enter_context(connection)
        yield Wire(connection)


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _pairs(message: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in message.decode().split(",") if "=" in part)
