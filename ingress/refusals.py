"""Answers that do not come from the application: to what is too much, or no HTTP."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from ingress.http.problems import Problem, respond, retry_later
from ingress.middleware import REQUEST_ID, SECURITY_HEADERS, fresh_request_id

CROWDED_RETRY_S = 1


async def too_many_requests(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer instead of the application while there are too many requests."""
    scope["request_id"] = fresh_request_id()
    problem = retry_later("overloaded", "too many requests at once", after_s=CROWDED_RETRY_S)
    answer = respond(Request(scope), problem)
    answer.raw_headers += [*_headers(scope), (b"connection", b"close")]
    await answer(scope, receive, send)


def document_of(problem: Problem) -> bytes:
    """Return a whole response, for what does not reach the application."""
    scope: Scope = {"type": "http", "path": "", "request_id": fresh_request_id()}
    answer = respond(Request(scope), problem)
    headers = [*answer.raw_headers, *_headers(scope), (b"connection", b"close")]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    status = HTTPStatus(problem.kind.status)
    first = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    return first + lines + b"\r\n" + bytes(answer.body)


def _headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers that the envelope adds; these answers do not pass through it."""
    headers = [*SECURITY_HEADERS, (REQUEST_ID, str(scope["request_id"]))]
    return [(name.lower().encode(), value.encode()) for name, value in headers]


def head_too_large(what: str) -> Problem:
    """Return the problem of a request whose head, or what surrounds its body, has no bound."""
    return Problem("head_too_large", what)
