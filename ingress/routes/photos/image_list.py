"""`GET /images`: the archive, page by page. `ingress.routes.photos.search` serves its searches."""

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from starlette.responses import Response

from core.storage.finding import image_pages
from core.storage.finding.image_pages import ImageFilter
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, cursor_of, limit_of, read_cursor
from ingress.models.search import FoundImage, FoundPage
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from ingress.routes.photos import search
from ingress.routes.photos.images import shown

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
STATUSES = ("accepted", "tagged", "failed", "missing")
_PARAMETERS = frozenset({"job", "status", "cursor", "limit"}) | search.PARAMETERS

T = TypeVar("T")


async def browse(call: Call) -> Response:
    """Return images, the newest arrival first; `next` is the cursor of the next page."""
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    search.refuse_unknown(call, _PARAMETERS)
    if search.PARAMETERS & set(call.request.query_params):
        return await search.find(
            call,
            job_id=_parameter(call, "job", UUID),
            status=_parameter(call, "status", _status),
            limit=limit,
        )
    found = await image_pages.page(call.deps.pool, _filter(call), limit + 1)
    images = tuple(shown(call, image, FoundImage) for image in found[:limit])
    last = found[limit - 1] if len(found) > limit else None
    follows = cursor_of(last.arrived_at, last.image_id) if last else None
    return json_response(FoundPage(images=images, next=follows))


def _filter(call: Call) -> ImageFilter:
    return ImageFilter(
        owner=call.own_only,
        job_id=_parameter(call, "job", UUID),
        status=_parameter(call, "status", _status),
        before=_parameter(call, "cursor", read_cursor),
    )


def _parameter(call: Call, name: str, read: Callable[[str], T]) -> T | None:
    text = call.request.query_params.get(name)
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        raise search.wrong(name, f"{text[:100]!r}: {error}") from error


def _status(text: str) -> str:
    if text not in STATUSES:
        raise ValueError(f"not one of {', '.join(STATUSES)}")
    return text


_TEXT = (("type", "string"),)
_DATE = (*_TEXT, ("format", "date-time"))
OPERATIONS = (
    Operation(
        "GET",
        "/images",
        browse,
        "The archive, page by page",
        "images",
        (Reply(200, "At most `limit` images.", FoundPage),),
        scope=Scope.READ,
        parameters=(
            limit_of(MAX_LIMIT),
            CURSOR,
            Parameter(
                "text", "query", "Images with the tags that it names, the best first.", search.TEXT
            ),
            Parameter(
                "tag",
                "query",
                "Only images with this tag, the surest first.",
                (*_TEXT, ("minLength", 1), ("maxLength", search.MAX_TAG_CHARS)),
            ),
            Parameter("from", "query", "Only images taken then or later.", _DATE),
            Parameter("to", "query", "Only images taken before.", _DATE),
            Parameter("status", "query", "Only this status.", (*_TEXT, ("enum", list(STATUSES)))),
            Parameter("job", "query", "Only this job's.", (*_TEXT, ("format", "uuid"))),
        ),
        problems=("invalid_request",),
    ),
)
