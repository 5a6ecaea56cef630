"""`GET /images/{image_id}/thumb`: a small picture, or one as large as a screen."""

from hashlib import sha256
from http import HTTPStatus

from starlette.responses import Response

from core.storage.archive.images import ImageStatus
from core.tags import ThumbSize
from ingress.auth.api_keys import Scope
from ingress.auth.ownership import visible_image
from ingress.http.problems import Extra, FieldError, Problem
from ingress.operations import Call, Operation, Parameter, Reply
from ingress.reading.thumbs import Pictured, version_of

#: Part of the entity tag: to be raised when thumbnails are made otherwise.
VERSION = 1
#: With the right `v` the address stands for these bytes, which never change; else a photo that was
#: changed would be shown as it was, so clients ask whether theirs is still right.
_FOR_EVER, _FOR_NOW = "private, max-age=31536000, immutable", "private, no-cache"
# Nothing in it runs, even if a browser takes the bytes for HTML.
_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


async def show_thumb(call: Call) -> Response:
    """Return a thumbnail; one that is missing is made now."""
    size = _size(call)
    image = await visible_image(call.deps.pool, call.path_id("image_id"), call.principal)
    digest = image.tagged_sha256 or image.sha256
    headers = {"Cache-Control": _FOR_NOW, "Content-Security-Policy": _POLICY}
    if digest is not None:
        if call.request.query_params.get("v") == version_of(digest):
            headers["Cache-Control"] = _FOR_EVER
        headers["ETag"] = _etag(digest, size)
        if headers["ETag"] in call.request.headers.get("if-none-match", ""):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    jpeg = await _found(call, image, Pictured(image.uri, digest), size)
    if digest is None:
        headers["ETag"] = _etag(sha256(jpeg).digest(), size)
    call.hold(call.memory(len(jpeg)))
    return Response(jpeg, media_type="image/jpeg", headers=headers)


async def _found(call: Call, image: ImageStatus, picture: Pictured, size: ThumbSize) -> bytes:
    thumbs = call.deps.thumbs
    if (kept := await thumbs.kept(picture, size)) is not None:
        return kept
    if image.status == "failed":
        raise Problem("thumb_missing", f"{image.reason}: {image.detail}")
    call.hold(call.deps.guards.places.thumbs.reserved(1, call.holder))
    return await call.unless_gone(thumbs.make(picture, size, call.holder))


def link(call: Call, image: ImageStatus) -> str:
    """Return the address of an image's small thumbnail, which may be kept for ever."""
    version = version_of(image.tagged_sha256 or image.sha256)
    query = f"?v={version}" if version else ""
    return call.link(f"/images/{image.image_id}/thumb{query}")


def _etag(digest: bytes, size: ThumbSize) -> str:
    return f'"{digest.hex()[:32]}-{size}-{VERSION}"'


def _size(call: Call) -> ThumbSize:
    text = call.request.query_params.get("size", ThumbSize.SMALL)
    try:
        return ThumbSize(text)
    except ValueError as error:
        detail = f"size={text[:40]!r} is neither small nor large"
        raise Problem(
            "invalid_request", detail, Extra(errors=(FieldError("size", detail),))
        ) from error


_TEXT = ("type", "string")
OPERATIONS = (
    Operation(
        "GET",
        "/images/{image_id}/thumb",
        show_thumb,
        "A thumbnail of the image",
        "images",
        (
            Reply(
                200,
                "A JPEG in sRGB, upright, without metadata.",
                media_type="image/jpeg",
                headers=(("ETag", "Of this thumbnail."),),
            ),
            Reply(304, "The client has it already (`If-None-Match`)."),
        ),
        scope=Scope.READ,
        parameters=(
            Parameter(
                "size",
                "query",
                "`small`: 256 to 400 pixels high, at most 1600 wide. `large`: its longer side has"
                " at most 1600. None is larger than the picture.",
                (_TEXT, ("enum", list(ThumbSize)), ("default", ThumbSize.SMALL)),
            ),
            Parameter(
                "v",
                "query",
                "The first 12 hex digits of the image's SHA-256, as `links.thumb` has them: then"
                " the answer may be kept for ever.",
                (_TEXT,),
            ),
        ),
        problems=("image_not_found", "thumb_missing", "invalid_request"),
        is_thumb=True,
    ),
)
