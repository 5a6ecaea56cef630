"""One Kafka metadata request, written by hand: is this broker alive, and is it ours?

Another broker may have taken the port first; only the cluster id tells. The request follows the
protocol guide (Metadata, version 4), so that the standalone mode needs no Kafka client.
"""

import socket
import struct
from dataclasses import dataclass

METADATA = 3
VERSION = 4  # newest without tagged fields; 4.3 answers 0 to 13
CORRELATION = 1
MAX_ANSWER_BYTES = 1024 * 1024
CLIENT_ID = b"photo-archive-standalone"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster that answered: its id, and its brokers as `host:port`."""

    cluster_id: str
    brokers: tuple[str, ...]


def ask(host: str, port: int, *, timeout_s: float) -> Cluster | None:
    """Return the cluster behind this address, or None where no broker answers in time."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(encode_request())
            (size,) = struct.unpack(">i", _receive(connection, 4))
            if not 0 < size <= MAX_ANSWER_BYTES:
                return None
            return decode_answer(_receive(connection, size))
    except (OSError, ValueError, struct.error):
        return None


def encode_request() -> bytes:
    """Return a request for the brokers alone: it lists no topics and creates none."""
    header = struct.pack(">hhih", METADATA, VERSION, CORRELATION, len(CLIENT_ID)) + CLIENT_ID
    body = header + struct.pack(">ib", 0, 0)
    return struct.pack(">i", len(body)) + body


def decode_answer(answer: bytes) -> Cluster:
    """Return what an answer, without its length, says.

    Raises:
        ValueError: it answers another request, or is incomplete.
    """
    fields = _Fields(answer)
    if fields.number(">i") != CORRELATION:
        raise ValueError("this answers another request")
    fields.number(">i")  # throttle time
    brokers: list[str] = []
    for _ in range(fields.number(">i")):
        fields.number(">i")  # node id
        host = fields.text()
        brokers.append(f"{host}:{fields.number('>i')}")
        fields.text()  # rack
    return Cluster(fields.text(), tuple(brokers))


class _Fields:
    """Reads the fields of an answer one after another."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def number(self, layout: str) -> int:
        size = struct.calcsize(layout)
        return int(struct.unpack(layout, self._take(size))[0])

    def text(self) -> str:
        size = self.number(">h")
        return self._take(size).decode() if size >= 0 else ""

    def _take(self, size: int) -> bytes:
        piece = self._content[self._at : self._at + size]
        if len(piece) != size:
            raise ValueError("the answer breaks off")
        self._at += size
        return piece


def _receive(connection: socket.socket, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        piece = connection.recv(size - len(pieces))
        if not piece:
            raise ValueError("the connection was closed")
        pieces += piece
    return bytes(pieces)
