"""Every error that a client can get, as RFC 9457 `application/problem+json`.

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
    """A kind of problem: its code, its title, and what the client can do about it."""

    code: str
    status: int
    title: str
    advice: str


KINDS: tuple[Kind, ...] = (
    Kind("malformed_json", 400, "Malformed JSON", "Send one JSON object in UTF-8."),
    Kind(
        "malformed_multipart",
        400,
        "Malformed multipart body",
        "Send multipart/form-data with parts named `file`.",
    ),
    Kind("malformed_request", 400, "Malformed request", "`detail` says why it cannot be read."),
    Kind("key_missing", 401, "API key required", "Send it in the header `X-API-Key`."),
    Kind(
        "key_invalid",
        401,
        "Invalid API key",
        "It is misspelled, unknown, revoked or expired; `detail` does not say which.",
    ),
    Kind("session_missing", 401, "Not signed in", "Sign in again: `POST /session`."),
    Kind(
        "cross_site",
        403,
        "Request of another site",
        "With the cookie of a session only the archive's own page may change anything, and sends"
        " `X-CSRF-Token`; programs send a key.",
    ),
    Kind(
        "insecure_origin",
        403,
        "No sign-in over plain http",
        "Come by https, or by http on the same machine; a proxy that ends TLS names its address in"
        " ARCHIVE_PUBLIC_URL.",
    ),
    Kind(
        "scope_missing",
        403,
        "Insufficient scope",
        "Ask the operator for a key with the scope that `detail` names.",
    ),
    Kind("link_invalid", 403, "Invalid link", "It has expired, or was changed: ask for a new one."),
    Kind(
        "paths_disabled",
        403,
        "Paths disabled",
        "The operator allows roots with ARCHIVE_ROOTS.",
    ),
    Kind("not_found", 404, "Not found", "The page /docs lists all paths."),
    Kind("image_not_found", 404, "Image not found", "Unknown, deleted, or another owner's."),
    Kind(
        "thumb_missing",
        404,
        "No thumbnail",
        "`detail` says why the picture gives none; it is tried again after ten minutes.",
    ),
    Kind("query_not_found", 404, "Query not found", "Unknown, or another owner's."),
    Kind("endpoint_not_found", 404, "Endpoint not found", "Unknown, or another owner's."),
    Kind(
        "inbox_not_found",
        404,
        "Inbox not found",
        "Unknown, another owner's, or this is not the standalone mode, which alone has inboxes.",
    ),
    Kind(
        "pair_not_found",
        404,
        "No such pair",
        "`{smaller id}~{greater id}` of two images that have tags.",
    ),
    Kind("job_not_found", 404, "Job not found", "Unknown, or another owner's."),
    Kind("change_not_found", 404, "Change not found", "Unknown, old, or another owner's."),
    Kind("filter_not_found", 404, "Filter not found", "`GET /filters` lists those that are kept."),
    Kind(
        "preview_not_found", 404, "Preview not found", "Unknown, replaced by a newer one, or old."
    ),
    Kind(
        "target_not_found",
        404,
        "No such target",
        "`detail` says what is no scheme, host or port.",
    ),
    Kind(
        "path_not_found",
        404,
        "Path not found",
        "Missing, not below an allowed root, behind a link, or not a plain file or directory.",
    ),
    Kind(
        "method_not_allowed",
        405,
        "Method not allowed",
        "The header `Allow` lists the methods that are.",
    ),
    Kind(
        "nothing_to_redeliver",
        409,
        "Nothing to redeliver",
        "The webhook is being sent, or the query is not answered yet: ask again later.",
    ),
    Kind(
        "signed_in_as_other",
        409,
        "Signed in as somebody else",
        "The code is not used up: sign out first, or send it with `leave`.",
    ),
    Kind(
        "nothing_to_undo",
        409,
        "Nothing to undo",
        "Deletions, what was undone, and what is older than a week cannot be undone.",
    ),
    Kind(
        "too_many_changes",
        409,
        "Too many changes under way",
        "Wait until one is done: `GET /images/changes` shows them.",
    ),
    Kind(
        "too_many_filters",
        409,
        "Too many filters",
        "Delete one that you do not need; `detail` names the limit.",
    ),
    Kind(
        "under_way",
        409,
        "Under way",
        "The same request came before and is not done: ask again a little later.",
    ),
    Kind(
        "nothing_to_stop",
        409,
        "Nothing to stop",
        "The webhook has ended, or the query is not answered yet.",
    ),
    Kind(
        "endpoint_exists",
        409,
        "Endpoint already registered",
        "Use it; `photo-archive keys signing-secret --endpoint` changes its secret.",
    ),
    Kind(
        "inboxes_exist",
        409,
        "Too many inboxes",
        "Use one of those that there are.",
    ),
    Kind(
        "labels_changed",
        409,
        "Labels changed",
        "Somebody changed them since you read them: read them again, then send your change.",
    ),
    Kind(
        "version_not_met",
        412,
        "Precondition failed",
        "`If-Match` names other labels than those in force: read them again.",
    ),
    Kind("receive_timeout", 408, "Request timeout", "The body came too slowly: send it faster."),
    Kind("body_too_large", 413, "Body too large", "`detail` names the limit."),
    Kind("target_too_long", 414, "Address too long", "`detail` names the limit of path and query."),
    Kind(
        "head_too_large",
        431,
        "Request header fields too large",
        "Send fewer or shorter headers; `detail` names the limit.",
    ),
    Kind("image_too_large", 413, "Image too large", "`detail` names the limit."),
    Kind("too_many_files", 413, "Too many files", "Send them in several requests."),
    Kind(
        "unsupported_media_type",
        415,
        "Unsupported media type",
        "`detail` names the content types that are taken.",
    ),
    Kind(
        "not_an_image",
        415,
        "Not a supported image",
        "The page /docs lists the formats that are taken.",
    ),
    Kind("image_unreadable", 422, "Unreadable image", "It is broken, or has too many pixels."),
    Kind("invalid_request", 422, "Invalid request", "`errors` names each field."),
    Kind(
        "callback_forbidden",
        422,
        "Callback address forbidden",
        "`detail` names the address and the rule.",
    ),
    Kind(
        "idempotency_key_reused",
        422,
        "Idempotency-Key reused",
        "It came with another body before: take a new key for a new request.",
    ),
    Kind("rate_limited", 429, "Too many requests", "Wait as long as `Retry-After` says."),
    Kind("internal_error", 500, "Internal error", "Give the operator the `request_id`."),
    Kind(
        "overloaded",
        503,
        "Overloaded",
        "Wait as long as `Retry-After` says; asking again is harmless.",
    ),
    Kind(
        "unavailable",
        503,
        "Service temporarily unavailable",
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
    """Further fields and headers of a problem."""

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
    """Return a problem that asks the client to try again after so many seconds."""
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
