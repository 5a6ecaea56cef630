"""A webhook receiver that misbehaves as the path of a request says.

It is an asyncio server without a framework, so that it can do what frameworks prevent. Modes:

    /ok                    200, "ok"; also every path that is no mode
    /status/N              status N
    /flaky/N               503 to the first N requests of this path, then 200
    /silent                reads the request, never answers
    /drip-headers          one byte of the answer's head per `drip_interval_s`
    /drip-body             200 at once, then one byte of the body per `drip_interval_s`
    /rst                   reset after the request was read
    /rst-body              200, half of the announced body, reset
    /lost                  closed without an answer after the request was read
    /lost-once/NAME        so the first request of this path; 200 to those that follow
    /early-fin             200, half of the announced body, closed
    /continue              100 Continue three times, then 200
    /http09                a body without any head, as HTTP/0.9 had it
    /stale                 200 with keep-alive, and a reset as soon as the connection is used again
    /huge                  200 announcing 10 GB, sent as fast as it is taken
    /gzip                  200 with Content-Encoding: gzip
    /garbage               bytes that are not HTTP
    /bad-chunks            200 with a chunk size that is no number
    /header-flood          200 with headers without end
    /redirect?LOCATION     302 to LOCATION
    /retry-after/VALUE     429 with Retry-After: VALUE (percent-decoded)
    /gone                  410
    /abort                 500 with webhook-delivery: abort-message
    /slow/SECONDS          200 after that time
    /stuck/N               status N and its headers at once, its body never
    /late-body/SECONDS     200 and its headers at once, its body after that time
    /204-body              204 with a body, in one packet
    /long-header           200 with a header of 20 kB
    /bad-length            200 with two lengths that differ, in one packet
    /bad-chunk-at-once     200 with a chunk size that is no number, in the packet of the headers
    /500-broken            500 with a header that is none
    /latin-1-reason        200 with words behind it that are no UTF-8
"""

import asyncio
import gzip
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote

HUGE_BYTES = 10 * 1000**3
_BLOCK = bytes(64 * 1024)
_BODILESS = frozenset({204, 304})  # RFC 9110, 6.4.1
_BROKEN = {
    "204-body": b"HTTP/1.1 204 No Content\r\n\r\n{}",
    "long-header": b"HTTP/1.1 200 OK\r\nX-Long: "
    + b"x" * 20_000
    + b"\r\nContent-Length: 0\r\n\r\n",
    "bad-length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "bad-chunk-at-once": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
    "500-broken": b"HTTP/1.1 500 Broken\r\nno header\r\n\r\n",
    "latin-1-reason": b"HTTP/1.1 200 R\xe9ussi\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
}
_HEAD_START_S = 0.1  # a reset discards what the other side has not read yet


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it was received; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at_s: float  # the event loop's clock
    connection: int  # counts from 1, so equal numbers mean a kept connection


@dataclass(slots=True)
class _Conversation:
    """One connection, with the operations that the modes need."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    paths: list[str] = field(default_factory=list)

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def answer(
        self, status: int, body: bytes = b"ok", headers: Mapping[str, str] | None = None
    ) -> None:
        lines = [f"HTTP/1.1 {status} Whatever"]
        if status in _BODILESS:
            body = b""
        else:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class HostileReceiver:
    """The server: an async context manager that listens on loopback and remembers requests.

    Args:
        host: where to listen.
        port: 0 for any free one.
        ssl_context: for TLS; None: plain HTTP.
        drip_interval_s: time between the bytes of the drip modes.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        drip_interval_s: float = 0.05,
    ) -> None:
        self.host = host
        self.port = port
        self.requests: list[Received] = []
        self.in_flight = 0
        self.peak_in_flight = 0
        self.sent_bytes = 0
        self._ssl_context = ssl_context
        self._drip_interval_s = drip_interval_s
        self._arrived = asyncio.Condition()
        self._asked: Counter[str] = Counter()
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, ssl=self._ssl_context
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and end all conversations."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """Return how many connections were accepted so far."""
        return self._connections

    def url(self, path: str, *, host: str | None = None) -> str:
        """Return the URL of a mode, optionally with another host name."""
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{host or self.host}:{self.port}{path}"

    def received(self, path: str) -> list[Received]:
        """Return the requests to one path, in order of arrival."""
        return [request for request in self.requests if request.path == path]

    async def wait_for(self, count: int, *, timeout_s: float = 10.0) -> list[Received]:
        """Wait until `count` requests have arrived in all.

        Raises:
            TimeoutError: fewer arrived in that time.
        """
        async with asyncio.timeout(timeout_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return list(self.requests)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        conversation = _Conversation(self._connections, reader, writer)
        task = asyncio.create_task(self._converse(conversation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, conversation: _Conversation) -> None:
        try:
            while True:
                request = await self._read_request(conversation)
                if "/stale" in conversation.paths:
                    await self._note(request)
                    self.in_flight -= 1
                    conversation.reset()
                    return
                conversation.paths.append(request.path)
                await self._note(request)
                try:
                    await self._behave(request, conversation)
                finally:
                    self.in_flight -= 1
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            return  # the other side has closed, as it should in most modes
        finally:
            conversation.writer.close()

    async def _read_request(self, conversation: _Conversation) -> Received:
        reader = conversation.reader
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.strip().split("\r\n")
        method, path, _ = request_line.split(" ", 2)
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        now = asyncio.get_running_loop().time()
        return Received(method, path, headers, body, now, conversation.number)

    async def _note(self, request: Received) -> None:
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        async with self._arrived:
            self.requests.append(request)
            self._asked[request.path] += 1
            self._arrived.notify_all()

    async def _behave(self, request: Received, conversation: _Conversation) -> None:
        path, _, query = request.path.partition("?")
        mode, _, argument = path.lstrip("/").partition("/")
        if mode in self._simple:
            status, body, headers = self._simple[mode]
            await conversation.answer(status, body, headers)
        elif mode in self._with_argument:
            await self._with_argument[mode](self, conversation, query or unquote(argument))
        elif mode in self._by_itself:
            await self._by_itself[mode](self, conversation)
        else:
            await conversation.answer(200)

    async def _status(self, conversation: _Conversation, argument: str) -> None:
        await conversation.answer(int(argument))

    async def _flaky(self, conversation: _Conversation, argument: str) -> None:
        failed = self._asked[conversation.paths[-1]] <= int(argument)
        await conversation.answer(503 if failed else 200)

    async def _lost_once(self, conversation: _Conversation, _argument: str) -> None:
        if self._asked[conversation.paths[-1]] == 1:
            conversation.writer.close()
        else:
            await conversation.answer(200)

    async def _redirect(self, conversation: _Conversation, argument: str) -> None:
        await conversation.answer(302, b"", {"Location": argument})

    async def _retry_after(self, conversation: _Conversation, argument: str) -> None:
        await conversation.answer(429, b"", {"Retry-After": argument})

    async def _slow(self, conversation: _Conversation, argument: str) -> None:
        await asyncio.sleep(float(argument))
        await conversation.answer(200)

    async def _stuck(self, conversation: _Conversation, argument: str) -> None:
        await conversation.send(
            f"HTTP/1.1 {argument} Whatever\r\nContent-Length: 9\r\n\r\n".encode()
        )
        await conversation.reader.read()  # until the other side gives up

    async def _late_body(self, conversation: _Conversation, argument: str) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        await asyncio.sleep(float(argument))
        await conversation.send(b"late")

    async def _silent(self, conversation: _Conversation) -> None:
        await conversation.reader.read()  # until the other side closes

    async def _drip_headers(self, conversation: _Conversation) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + b"X-Padding: x\r\n" * 100_000
        await self._drip(conversation, head)

    async def _drip_body(self, conversation: _Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        await self._drip(conversation, b"x" * 1_000_000)

    async def _drip(self, conversation: _Conversation, content: bytes) -> None:
        for value in content:
            await conversation.send(bytes((value,)))
            await asyncio.sleep(self._drip_interval_s)

    async def _rst(self, conversation: _Conversation) -> None:
        conversation.reset()

    async def _rst_body(self, conversation: _Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50)
        await asyncio.sleep(_HEAD_START_S)
        conversation.reset()

    async def _lost(self, conversation: _Conversation) -> None:
        conversation.writer.close()

    async def _early_fin(self, conversation: _Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50)
        conversation.writer.close()

    async def _continue(self, conversation: _Conversation) -> None:
        await conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 3)
        await conversation.answer(200)

    async def _http09(self, conversation: _Conversation) -> None:
        await conversation.send(b"<html>an answer of 1991</html>\r\n")
        conversation.writer.close()

    async def _huge(self, conversation: _Conversation) -> None:
        await conversation.send(f"HTTP/1.1 200 OK\r\nContent-Length: {HUGE_BYTES}\r\n\r\n".encode())
        for _ in range(HUGE_BYTES // len(_BLOCK)):
            await conversation.send(_BLOCK)
            self.sent_bytes += len(_BLOCK)

    async def _garbage(self, conversation: _Conversation) -> None:
        await conversation.send(b"\x00\x01 this is no HTTP\r\n\r\n")
        conversation.writer.close()

    async def _bad_chunks(self, conversation: _Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(_HEAD_START_S)
        await conversation.send(b"zz\r\nhello")

    async def _broken(self, conversation: _Conversation) -> None:
        """Send all in one packet, so that the status line is parsed with what breaks HTTP."""
        await conversation.send(_BROKEN[conversation.paths[-1].lstrip("/")])
        await conversation.reader.read()  # until the other side gives up

    async def _header_flood(self, conversation: _Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\n")
        for number in range(1_000_000):
            await conversation.send(b"X-%d: %s\r\n" % (number, b"y" * 1000))
            self.sent_bytes += 1000

    _simple: Mapping[str, tuple[int, bytes, Mapping[str, str]]] = {  # read only
        "ok": (200, b"ok", {}),
        "gone": (410, b"gone", {}),
        "abort": (500, b"", {"webhook-delivery": "abort-message"}),
        "gzip": (200, gzip.compress(b"x" * 1_000_000), {"Content-Encoding": "gzip"}),
        "stale": (200, b"ok", {"Connection": "keep-alive"}),
    }
    _with_argument: Mapping[
        str, Callable[["HostileReceiver", _Conversation, str], Awaitable[None]]
    ] = {
        "status": _status,
        "flaky": _flaky,
        "lost-once": _lost_once,
        "redirect": _redirect,
        "retry-after": _retry_after,
        "slow": _slow,
        "stuck": _stuck,
        "late-body": _late_body,
    }
    _by_itself: Mapping[str, Callable[["HostileReceiver", _Conversation], Awaitable[None]]] = {
        "silent": _silent,
        "drip-headers": _drip_headers,
        "drip-body": _drip_body,
        "rst": _rst,
        "rst-body": _rst_body,
        "lost": _lost,
        "early-fin": _early_fin,
        "continue": _continue,
        "http09": _http09,
        "huge": _huge,
        "garbage": _garbage,
        "bad-chunks": _bad_chunks,
        "header-flood": _header_flood,
        "204-body": _broken,
        "long-header": _broken,
        "bad-length": _broken,
        "bad-chunk-at-once": _broken,
        "500-broken": _broken,
        "latin-1-reason": _broken,
    }
