"""Images that are alike: `GET /images/{image_id}/similar`, `GET /duplicates`. Nothing is merged."""

import re

from starlette.responses import Response

from core.storage.finding import duplicates
from ingress.auth.api_keys import Scope
from ingress.auth.ownership import visible_image
from ingress.dependencies import Dependencies
from ingress.http.cursors import limit_of
from ingress.http.problems import Extra, FieldError, Problem
from ingress.models.duplicates import AlikeImage, DuplicateGroup, Duplicates, SimilarImages
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from ingress.reading import same_photos

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_ROW_ID = 2**63 - 1
CURSOR = "^[0-9a-f]{64}$"


async def similar(call: Call) -> Response:
    """Return the images that are like this one: same bytes, same photo or same burst."""
    image_id = call.path_id("image_id")
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    async with call.deps.pool.connection() as connection:
        await visible_image(connection, image_id, call.caller)
        found = await duplicates.alike(connection, image_id, owner=call.own_only, limit=limit)
    shown = tuple(AlikeImage.of(one, image_path=one.path) for one in found.images)
    return json_response(SimilarImages(images=shown, is_complete=found.is_complete))


async def report(call: Call) -> Response:
    """Return groups of images with the same bytes, or pairs that are the same photo."""
    limit, after = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT), _cursor(call)
    report_on = REPORTS.get(call.request.query_params.get("level", "identical"))
    if report_on is None:
        detail = f"level: must be one of {', '.join(REPORTS)}"
        raise Problem("invalid_request", detail, Extra(errors=(FieldError("level", detail),)))
    return json_response(await report_on(call.deps, call.own_only, after, limit))


async def _identical(deps: Dependencies, owner: str | None, after: bytes, limit: int) -> Duplicates:
    groups = await duplicates.identical(deps.pool, owner=owner, after=after, limit=limit + 1)
    shown = tuple(
        DuplicateGroup.of(
            one,
            level="identical",
            sha256=one.sha256.hex(),
            cosine=None,
            hash_distance=None,
            image_paths=one.paths,
        )
        for one in groups[:limit]
    )
    follows = shown[-1].sha256 if len(groups) > limit else None
    return Duplicates(groups=shown, next=follows, is_complete=True)


async def _same_photo(
    deps: Dependencies, owner: str | None, after: bytes, limit: int
) -> Duplicates:
    place = min(int.from_bytes(after, "big"), MAX_ROW_ID)  # the cursor may be of the other level
    page = await same_photos.find(deps.pool, deps.comparing, owner=owner, after=place, limit=limit)
    shown = tuple(
        DuplicateGroup.of(
            one,
            level="same_photo",
            sha256=None,
            image_ids=(one.older_id, one.newer_id),
            image_paths=(one.older_path, one.newer_path),
        )
        for one in page.pairs
    )
    # As many digits as a cursor of the other level has.
    follows = None if page.next is None else f"{page.next:064x}"
    return Duplicates(groups=shown, next=follows, is_complete=page.is_complete)


REPORTS = {"identical": _identical, "same_photo": _same_photo}


def _cursor(call: Call) -> bytes:
    text = call.request.query_params.get("cursor")
    if text is None:
        return b""
    if not re.fullmatch(CURSOR, text):
        detail = f"cursor: {text[:100]!r} is not the cursor of a page"
        raise Problem("invalid_request", detail, Extra(errors=(FieldError("cursor", detail),)))
    return bytes.fromhex(text)


_LIMIT = limit_of(MAX_LIMIT)
OPERATIONS = (
    Operation(
        "GET",
        "/images/{image_id}/similar",
        similar,
        "Images that are like this one: same bytes, same photo, same burst",
        "images",
        (Reply(200, "The most alike first.", SimilarImages),),
        scope=Scope.READ,
        parameters=(_LIMIT,),
        problems=("image_not_found", "invalid_request"),
    ),
    Operation(
        "GET",
        "/duplicates",
        report,
        "Groups of images with the same bytes, or pairs that are the same photo",
        "images",
        (Reply(200, "At most `limit` groups.", Duplicates),),
        scope=Scope.READ,
        parameters=(
            _LIMIT,
            Parameter(
                "level",
                "query",
                "The same bytes, if absent.",
                (("type", "string"), ("enum", list(REPORTS))),
            ),
            Parameter(
                "cursor",
                "query",
                "`next` of the page before.",
                (("type", "string"), ("pattern", CURSOR)),
            ),
        ),
        problems=("invalid_request",),
    ),
)
