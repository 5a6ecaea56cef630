"""Around every request: id, trace, log line, metrics, security headers, and the 500 for bugs.

Plain ASGI: Starlette's BaseHTTPMiddleware would put a queue and a task between server and route.
"""

import re
import secrets
import time
from contextlib import ExitStack
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.telemetry import tracing
from core.telemetry.metrics import Metrics
from ingress.http.idling import SEAT, Seat
from ingress.http.problems import Problem, respond
from ingress.operations import HELD, ROUTE

log = structlog.get_logger("ingress.access")

REQUEST_ID = "X-Request-ID"
_GIVEN_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")
#: Of an answer at once: the next piece waits until the client has taken most of those before.
_PIECE_BYTES = 64 * 1024
_QUIET = frozenset({"/livez", "/readyz", "/health", "/metrics"})  # asked every few seconds

#: Default headers, which a route may override.
SECURITY_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("Cache-Control", "no-store"),
)


class Envelope:
    """Wraps the application; answers 500 where an error was not handled."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, is_tls: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._is_tls = is_tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["request_id"] = _request_id(headers)
        serving = tracing.serve(headers.get("traceparent"), is_quiet=scope["path"] in _QUIET)
        scope["traceparent"] = serving.traceparent
        answering = _Answering(send, scope, is_tls=self._is_tls)
        started = time.perf_counter()
        # What the request holds (its place, memory) is given back when its answer has been sent.
        with (
            ExitStack() as held,
            structlog.contextvars.bound_contextvars(
                request_id=scope["request_id"], trace_id=tracing.trace_id(serving.traceparent)
            ),
        ):
            scope[HELD] = held
            try:
                await self._app(scope, receive, answering.send)
            except ClientDisconnect:
                answering.status = answering.status or 499  # nginx's number for it
            except Exception:  # the outermost handler of a request: a bug fails this request only
                log.exception("request_failed", path=scope["path"])
                if answering.status == 0:
                    problem = Problem("internal_error", "the request could not be answered")
                    await respond(Request(scope), problem)(scope, receive, answering.send)
            finally:
                self._record(scope, answering.status, time.perf_counter() - started)
                serving.end(
                    f"{scope['method']} {scope.get(ROUTE, 'other')}",
                    answering.status,
                    {"http.request.method": scope["method"], "request_id": scope["request_id"]},
                )

    def _record(self, scope: Scope, status: int, took_s: float) -> None:
        route = scope.get(ROUTE, "other")
        self._metrics.http_requests.labels(route, str(status)).inc()
        self._metrics.http_seconds.labels(route).observe(took_s)
        write = log.debug if scope["path"] in _QUIET else log.info
        write(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            took_ms=round(took_s * 1000, 1),
            owner=scope.get("owner"),
            key_id=scope.get("key_id"),
        )


class _Answering:
    """Sends the response with the headers that every response has."""

    def __init__(self, send: Send, scope: Scope, *, is_tls: bool) -> None:
        self._send = send
        self._scope = scope
        self._is_tls = is_tls
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._scope["request_id"]
            if self.status == HTTPStatus.TOO_MANY_REQUESTS:
                self._keep_waiting(headers)
            for name, value in SECURITY_HEADERS:
                headers.setdefault(name, value)
            if self._is_tls:
                headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if len(message.get("body", b"")) <= _PIECE_BYTES:
            await self._send(message)
        else:
            await self._send_in_pieces(message)

    def _keep_waiting(self, headers: MutableHeaders) -> None:
        """Have the connection wait as long as the client is told to, whether it does or not.

        A refusal costs a third of a millisecond: a thousand connections that ask again at once
        would have the process do nothing else.
        """
        if isinstance(seat := self._scope.get(SEAT), Seat):
            seat.pause_s = float(headers.get("Retry-After", "0"))

    async def _send_in_pieces(self, message: Message) -> None:
        """Send a body so that a request ends when the client has its answer, but for one piece.

        Handed over at once it would lie in the connection's buffer, counted by nobody, for as long
        as a client likes to read it.
        """
        body: bytes = message["body"]
        more = message.get("more_body", False)
        for start in range(0, len(body), _PIECE_BYTES):
            is_last = start + _PIECE_BYTES >= len(body)
            piece = body[start : start + _PIECE_BYTES]
            await self._send({**message, "body": piece, "more_body": more or not is_last})


def _request_id(headers: Headers) -> str:
    given = headers.get(REQUEST_ID, "")
    return given if _GIVEN_ID.fullmatch(given) else fresh_request_id()


def fresh_request_id() -> str:
    """Return an id for a request without one."""
    return secrets.token_hex(16)
