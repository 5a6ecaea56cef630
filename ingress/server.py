"""Serving with uvicorn: connection limits that it lacks, and an orderly stop."""

import asyncio
import signal
import socket
from asyncio import TimerHandle, Transport
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import ClassVar

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from core.errors import ConfigurationError
from core.settings import IngressSettings
from ingress.dependencies import Readiness
from ingress.http.problems import Problem, respond, retry_later
from ingress.middleware import REQUEST_ID, SECURITY_HEADERS, fresh_request_id

KEEP_ALIVE_S = 5
DRAIN_TIMEOUT_S = 20  # for requests under way at the end; orchestrators kill after 30 s
BACKLOG = 2048
CROWDED_RETRY_S = 1


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a time limit for a request's headers, and with problems for errors.

    uvicorn has no such limit (its issue 157): its keep-alive timer ends with the first byte, so a
    client that sends a byte a minute keeps its connection for ever. Its own refusals are plain
    text; here they are problem documents.
    """

    header_timeout_s: ClassVar[float] = 10.0
    max_connections: ClassVar[int] = 1000
    _headers_due: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Start the clock for the first request's headers."""
        super().connection_made(transport)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first ones of a further request start the clock again."""
        if self.cycle is None or self.cycle.response_complete:
            self._start_clock()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Stop the clock: the headers are complete."""
        self._stop_clock()
        is_crowded = max(len(self.connections), len(self.tasks)) >= self.max_connections
        self.app = _too_many_connections if is_crowded else self.config.loaded_app
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, and an address or headers that are too long, with a problem."""
        scope: Scope = {"type": "http", "path": "", "request_id": fresh_request_id()}
        answer = respond(Request(scope), Problem("malformed_request", msg))
        headers = [*answer.raw_headers, *_headers(scope), (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        head = b"HTTP/1.1 400 Bad Request\r\n%b\r\n" % lines
        self.transport.write(head + bytes(answer.body))
        self.transport.close()

    def on_response_complete(self) -> None:
        """Stop the clock: uvicorn's keep-alive timer runs while the connection is idle."""
        super().on_response_complete()
        if not self.pipeline:
            self._stop_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _start_clock(self) -> None:
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(self.header_timeout_s, self._give_up)

    def _stop_clock(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _give_up(self) -> None:
        self._headers_due = None
        if not self.transport.is_closing():
            self.transport.close()


async def _too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer instead of the application while there are too many connections."""
    scope["request_id"] = fresh_request_id()
    problem = retry_later("overloaded", "too many connections", after_s=CROWDED_RETRY_S)
    answer = respond(Request(scope), problem)
    answer.raw_headers += [*_headers(scope), (b"connection", b"close")]
    await answer(scope, receive, send)


def _headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers that the envelope adds; these answers do not pass through it."""
    headers = [*SECURITY_HEADERS, (REQUEST_ID, str(scope["request_id"]))]
    return [(name.lower().encode(), value.encode()) for name, value in headers]


class Server(uvicorn.Server):
    """Stops in steps: not ready, a delay for load balancers, no new connections, drain, end."""

    def __init__(
        self, config: uvicorn.Config, readiness: Readiness, *, stop_delay_s: float
    ) -> None:
        super().__init__(config)
        self._readiness = readiness
        self._stop_delay_s = stop_delay_s

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave the signals to `stop_on_signals`.

        uvicorn would raise them again at the end of `serve`: a SIGTERM would then end the process
        before outbox and pool are closed.
        """
        return nullcontext()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop at the first signal; abort pending requests at the second."""
        if not self._readiness.is_ready or self._stop_delay_s == 0:
            self._readiness.is_ready = False
            super().handle_exit(sig, frame)
            return
        self._readiness.is_ready = False
        loop = asyncio.get_running_loop()
        loop.call_later(self._stop_delay_s, super().handle_exit, sig, frame)


def make_server(app: ASGIApp, settings: IngressSettings, readiness: Readiness) -> Server:
    """Return a server for the application, not yet listening."""
    limits = {
        "header_timeout_s": settings.header_timeout_s,
        "max_connections": settings.max_connections,
    }
    config = uvicorn.Config(
        app,
        http=type("LimitedProtocol", (DeadlineProtocol,), limits),
        ws="none",
        lifespan="off",
        log_config=None,  # structlog has the root logger; the access log is the envelope's
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
        ssl_certfile=settings.ssl_certfile,
        ssl_keyfile=settings.ssl_keyfile,
    )
    return Server(config, readiness, stop_delay_s=settings.stop_delay_s)


def stop_on_signals(server: Server) -> None:
    """Let SIGTERM and SIGINT stop the server in order; call it in the running loop."""
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, server.handle_exit, sig, None)


def listen(settings: IngressSettings) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigurationError: the address cannot be used; uvicorn would exit without saying why.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server(
            (settings.host, settings.port), family=family, backlog=BACKLOG, reuse_port=False
        )
    except OSError as error:
        raise ConfigurationError(
            f"INGRESS_HOST, INGRESS_PORT: {settings.host}:{settings.port}: {error.strerror}"
        ) from error
