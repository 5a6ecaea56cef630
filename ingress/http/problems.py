"""Every error that a client can meet, as RFC 9457 `application/problem+json`.

`type` and `code` are stable: clients may branch on them. `detail` names the value and the limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from core.errors import PermanentError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "/docs/problems#"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: what it is called, and what a client can do about it."""

    code: str
    status: int
    title: str
    advice: str


KINDS: tuple[Kind, ...] = (
    Kind("malformed_json", 400, "The body is not JSON", "Send one JSON object in UTF-8."),
    Kind(
        "malformed_multipart",
        400,
        "The multipart body is broken",
        "Send multipart/form-data with parts named `file`.",
    ),
    Kind("malformed_request", 400, "The request cannot be read", "Look at `detail`."),
    Kind("key_missing", 401, "An API key is needed", "Send it in the header `X-API-Key`."),
    Kind(
        "key_invalid",
        401,
        "The API key is not valid",
        "It is misspelled, unknown, revoked or expired; `detail` does not say which.",
    ),
    Kind("scope_missing", 403, "The key may not do this", "Ask for a key with the scope named."),
    Kind(
        "link_invalid", 403, "The link is not valid", "It is expired or changed: ask for a new one."
    ),
    Kind(
        "paths_disabled",
        403,
        "Paths are turned off here",
        "The operator allows roots with ARCHIVE_ROOTS.",
    ),
    Kind("not_found", 404, "There is nothing here", "Look at /docs for what there is."),
    Kind("image_not_found", 404, "No such image", "Unknown, deleted, or another owner's."),
    Kind("query_not_found", 404, "No such query", "Unknown, or another owner's."),
    Kind("endpoint_not_found", 404, "No such endpoint", "Unknown, or another owner's."),
    Kind("job_not_found", 404, "No such job", "Unknown, or another owner's."),
    Kind("preview_not_found", 404, "No such preview", "Unknown, replaced by a newer one, or old."),
    Kind(
        "path_not_found",
        404,
        "No such path",
        "Missing, not below an allowed root, behind a link, or not a plain file or directory.",
    ),
    Kind("method_not_allowed", 405, "Not with this method", "The header `Allow` lists those."),
    Kind(
        "nothing_to_redeliver",
        409,
        "There is no webhook to send again",
        "It is under way, or not answered yet: ask again later.",
    ),
    Kind(
        "endpoint_exists",
        409,
        "The address is registered",
        "Use it as it is; `keys signing-secret --endpoint` changes its secret.",
    ),
    Kind(
        "labels_changed",
        409,
        "The labels were changed meanwhile",
        "Read them again and bring your change into what is there now.",
    ),
    Kind(
        "version_not_met",
        412,
        "The version in If-Match is not in force",
        "Read the labels again and bring your change into what is there now.",
    ),
    Kind("receive_timeout", 408, "The body came too slowly", "Send it again, faster."),
    Kind("body_too_large", 413, "The body is too large", "`detail` names the limit."),
    Kind("image_too_large", 413, "The image has too many bytes", "`detail` names the limit."),
    Kind("too_many_files", 413, "Too many files in one request", "Split them over requests."),
    Kind("unsupported_media_type", 415, "This content type is not taken", "`detail` names those."),
    Kind("not_an_image", 415, "These bytes are no picture that we know", "Formats: see /docs."),
    Kind("image_unreadable", 422, "The picture cannot be used", "Broken, or too many pixels."),
    Kind("invalid_request", 422, "A field breaks its rule", "`errors` names each field."),
    Kind(
        "callback_forbidden",
        422,
        "The callback address may not be called",
        "`detail` names the address and the rule.",
    ),
    Kind(
        "idempotency_key_reused",
        422,
        "This Idempotency-Key came with another body",
        "Take a new key for a new query.",
    ),
    Kind("rate_limited", 429, "Too many requests", "Wait as long as `Retry-After` says."),
    Kind("internal_error", 500, "Something broke here", "Give the operator the `request_id`."),
    Kind(
        "overloaded",
        503,
        "Too much at once",
        "Wait as long as `Retry-After` says; asking again is harmless.",
    ),
    Kind(
        "unavailable",
        503,
        "A part behind us is away",
        "Wait as long as `Retry-After` says; asking again is harmless.",
    ),
)
BY_CODE: Mapping[str, Kind] = {kind.code: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that breaks a rule.

    Attributes:
        pointer: JSON pointer (RFC 6901) into the body, or the parameter's or header's name.
    """

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Extra:
    """What a problem may carry beyond its kind and detail."""

    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)


class Problem(PermanentError):
    """A request that ends in an error response.

    Args:
        code: one of `KINDS`.
        detail: what is wrong in this case, with the value and the limit.
    """

    def __init__(self, code: str, detail: str, extra: Extra | None = None) -> None:
        super().__init__(detail, reason=code)
        self.kind = BY_CODE[code]
        self.detail = detail
        self.extra = extra or Extra()


def retry_later(code: str, detail: str, *, after_s: int) -> Problem:
    """Return a problem that asks to come back after so many seconds."""
    return Problem(code, detail, Extra(headers={"Retry-After": str(max(1, after_s))}))


def as_document(problem: Problem, *, request_id: str, instance: str) -> dict[str, Any]:
    """Return the problem's JSON."""
    document: dict[str, Any] = {
        "type": f"{TYPE_PREFIX}{problem.kind.code}",
        "title": problem.kind.title,
        "status": problem.kind.status,
        "code": problem.kind.code,
        "detail": problem.detail,
        "instance": instance,
        "request_id": request_id,
    }
    if problem.extra.errors:
        document["errors"] = [
            {"pointer": error.pointer, "detail": error.detail} for error in problem.extra.errors
        ]
    return document | dict(problem.extra.members)


def respond(request: Request, problem: Problem) -> JSONResponse:
    """Return the response to a request that ended in a problem."""
    return JSONResponse(
        as_document(
            problem,
            request_id=str(request.scope.get("request_id", "")),
            instance=str(request.scope["path"]),
        ),
        status_code=problem.kind.status,
        headers=dict(problem.extra.headers),
        media_type=MEDIA_TYPE,
    )
