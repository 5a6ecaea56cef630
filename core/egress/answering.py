"""What goes out and what comes back, exactly: aiohttp's request and its connection's reader.

yarl rewrites URLs by default (`%2F` in a query becomes a slash), which breaks those that a receiver
has signed. And an answer counts from its status line on, since the receiver has decided by then;
aiohttp 3.14 gives none of it where the headers, or the rest of the same packet, are not as they
should be: a header over 8 kB, a 204 with a body, a length that is none.
"""

import asyncio
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from core.errors import TargetForbidden

# A status line (RFC 9112, 4) and the end of an interim answer's headers.
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
MAX_HEAD_BYTES = 16 * 1024  # interim answers and the line; more is no answer
SWITCHING = 101
#: What is timed of an exchange, by its marks. A kept connection has the last one alone.
_TIMED = {
    "dns": ("resolving", "resolved"),
    "connect": ("connecting", "connected"),
    "tls": ("connected", "secured"),
    "wait": ("ready", "heard"),
}


@dataclass(slots=True)
class RequestTrace:
    """The notes about one request; a mutable value shared by client, connector and reader.

    Attributes:
        host: of the target, or of the proxy.
        url: what is requested, byte for byte; None: as aiohttp writes it.
        is_plain: it goes without TLS.
        to_inbox: it is an address of the receiver in the box.
        reused: the connection had a request before.
        status: of the answer, from its status line on.
        heard: called when the status is there.
        marks: when each step was reached, by `time.monotonic`.
    """

    host: str
    url: yarl.URL | None = None
    is_plain: bool = False
    to_inbox: bool = False
    reused: bool = False
    remote_address: str = ""
    forbidden: TargetForbidden | None = None
    status: int | None = None
    heard: Callable[[], object] = lambda: None
    marks: dict[str, float] = field(default_factory=dict)

    def mark(self, step: str) -> None:
        """Note that a step is reached."""
        self.marks[step] = time.monotonic()

    def times_ms(self) -> dict[str, int]:
        """Return how long the steps took that there were; one that is under way, until now."""
        now, times = time.monotonic(), {}
        for name, (begins, ends) in _TIMED.items():
            begun, ended = self.marks.get(begins), self.marks.get(ends)
            if begun is not None and not (name == "tls" and self.is_plain):
                times[name] = round(((now if ended is None else ended) - begun) * 1000)
        return times


# A context variable, since aiohttp gives its hooks no place for a request's own data; its
# connection attempts run in child tasks, which inherit it and share the object.
trace_of_request: ContextVar[RequestTrace] = ContextVar("trace_of_request")


def exact_url(url: str) -> yarl.URL:
    """Return a URL that yarl writes as it is; with a query that is empty, too."""
    parts = urlsplit(url)
    path = url[len(f"{parts.scheme}://{parts.netloc}") :]
    return yarl.URL(SplitResult(parts.scheme, parts.netloc, path, "", ""), encoded=True)


class ExactRequest(aiohttp.ClientRequest):
    """A request to the URL in the trace."""

    def __init__(self, method: str, url: yarl.URL, **options: Any) -> None:
        super().__init__(method, trace_of_request.get().url or url, **options)


class ReadableResponse(aiohttp.ClientResponse):
    """An answer whose reason phrase can be read, and so has no part in whether it counts.

    Some servers write it in Latin-1. httpx-aiohttp 0.2.0 fails on it, and leaves the connection.
    """

    async def start(self, connection: Connection) -> Self:
        """Wait for the headers."""
        await super().start(connection)
        self.reason = (self.reason or "").encode(errors="replace").decode()
        return self


class StatusReader(ResponseHandler):
    """Notes the status of each answer as its bytes arrive, before they are parsed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.trace: RequestTrace | None = None
        self._head = b""
        # Made when the socket is connected, and told of the connection when TLS stands.
        self._opening = trace_of_request.get(None)
        if self._opening is not None:
            self._opening.mark("connected")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note when TLS stands."""
        if self._opening is not None:
            self._opening.mark("secured")
            self._opening = None
        super().connection_made(transport)

    def set_response_params(self, **options: Any) -> None:
        """Begin with the answer to the next request."""
        self._head = b""
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Look for the status line, then parse."""
        trace = self.trace
        if trace is not None and trace.status is None:
            self._head = (self._head + data)[:MAX_HEAD_BYTES]
            trace.status, self._head = status_of(self._head)
            if trace.status is not None:
                trace.mark("heard")
                trace.heard()
        super().data_received(data)


def status_of(head: bytes) -> tuple[int | None, bytes]:
    """Return the status of an answer's first bytes, and what is left to look at with the next.

    Interim answers (RFC 9110, 15.2) are passed over.
    """
    while (line := _STATUS_LINE.match(head)) is not None:
        status = int(line[1])
        if status >= 200 or status == SWITCHING:
            return status, b""
        end = _END_OF_HEADERS.search(head, line.end() - 2)
        if end is None:
            break
        head = head[end.end() :]
    return None, head
