"""Errors of the project and of Starlette, as problems."""

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from core.errors import ImageMissing, PermanentError, RecordRefused, TransientError
from ingress.http.problems import Extra, Problem, respond, retry_later

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 5
_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def handlers() -> dict[type[Exception] | int, ExceptionHandler]:
    """Return Starlette's table of exception handlers."""
    return {
        HTTPException: _on_http,
        TransientError: _on_transient,
        PermanentError: _on_permanent,
    }


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = _BY_STATUS.get(error.status_code, "malformed_request")
    detail = f"{request.method} {request.scope['path'][:200]}"
    return respond(request, Problem(code, detail, Extra(headers=dict(error.headers or {}))))


async def _on_transient(request: Request, error: Exception) -> Response:
    log.warning("part_away", error=f"{type(error).__name__}: {error}")
    detail = f"{type(error).__name__}: what was sent may have been kept; asking again is harmless"
    return respond(request, retry_later("unavailable", detail, after_s=RETRY_AFTER_S))


async def _on_permanent(request: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        return respond(request, error)
    if isinstance(error, RecordRefused):
        return respond(request, Problem("invalid_request", f"the database refuses it: {error}"))
    if isinstance(error, ImageMissing):
        return respond(request, Problem("image_not_found", str(error)))
    raise error
