"""Webhook receivers in a process of their own: any number of hosts 127.0.0.x on one port.

They use as little CPU as Python allows, and note when each webhook arrived, by the machine's
monotonic clock, which all processes share.
"""

import asyncio
import multiprocessing
import re
import socket
import struct
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from time import monotonic
from types import TracebackType
from typing import Self, cast

import uvloop

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
DRIP = b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nwebhook-id: *(\S+)", re.IGNORECASE)
SILENT = "/silent"
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that arrived completely."""

    webhook_id: str
    host: str
    at_s: float


class Receivers(AbstractContextManager["Receivers"]):
    """Hosts with a given behaviour: `ok`, `silent`, `slow` (5 s), `reset`, `drip` (1 byte/s).

    Whatever the host, requests whose path begins with `SILENT` get no answer.
    """

    def __init__(self, modes: Mapping[str, str]) -> None:
        self._modes = dict(modes)
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._modes), daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        """Start listening."""
        self._process.start()
        if not self._pipe.poll(START_S):
            raise TimeoutError("the receivers did not start")
        self.port = int(self._pipe.recv())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join(10)

    def url(self, host: str) -> str:
        """Return the callback URL of a host."""
        return f"http://{host}:{self.port}/hook"

    def take(self) -> list[Arrival]:
        """Return the arrivals since the last call."""
        self._pipe.send("take")
        return cast("list[Arrival]", self._pipe.recv())


def _serve(pipe: Connection, modes: dict[str, str]) -> None:
    uvloop.run(_listen(pipe, modes))


async def _listen(pipe: Connection, modes: dict[str, str]) -> None:
    loop = asyncio.get_running_loop()
    arrivals: list[Arrival] = []
    port = 0
    for host, mode in modes.items():
        server = await loop.create_server(
            partial(_Peer, host, mode, arrivals), host, port, backlog=1024
        )
        port = port or server.sockets[0].getsockname()[1]
    pipe.send(port)
    ended = loop.create_future()

    def answer() -> None:
        try:
            pipe.recv()
        except EOFError:
            ended.set_result(None)
            return
        pipe.send(list(arrivals))
        arrivals.clear()

    loop.add_reader(pipe.fileno(), answer)
    await ended


class _Peer(asyncio.Protocol):
    def __init__(self, host: str, mode: str, arrivals: list[Arrival]) -> None:
        self._host, self._mode, self._arrivals = host, mode, arrivals
        self._head = b""
        self._missing = -1  # bytes of the body still to come; negative while the head is incomplete
        self._id = ""
        self._is_silent = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length, name = _LENGTH.search(head), _ID.search(head)
            self._missing = int(length[1]) if length else 0
            self._id = name[1].decode() if name else ""
            self._is_silent = head.startswith(f"POST {SILENT}".encode())
            self._head, data = b"", body
        self._missing -= len(data)
        if self._missing <= 0:
            self._missing = -1
            self._arrivals.append(Arrival(self._id, self._host, monotonic()))
            self._answer()

    def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        match "silent" if self._is_silent else self._mode:
            case "ok":
                self._transport.write(OK)
            case "slow":
                loop.call_later(5.0, self._write, OK)
            case "reset":
                sock = self._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._transport.abort()
            case "drip":
                self._drip(0)
            case _:
                return  # silent

    def _write(self, content: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(content)

    def _drip(self, place: int) -> None:
        if not self._transport.is_closing() and place < len(DRIP):
            self._transport.write(DRIP[place : place + 1])
            asyncio.get_running_loop().call_later(1.0, self._drip, place + 1)
