"""`/images`: upload, status, bytes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from core.errors import PermanentError
from core.storage.archive.images import ImageStatus
from ingress.accepting import KeptImage, keep_upload
from ingress.auth.api_keys import Scope
from ingress.auth.ownership import visible_image
from ingress.http.bodies import check_announced, stream
from ingress.http.multipart import FileBuffer, ReceivedFile, read_files
from ingress.http.pictures import etag_of, picture_response
from ingress.http.problems import Extra, FieldError, Problem
from ingress.models.images import ShownImage, Upload, UploadedImage
from ingress.models.problems import FileError
from ingress.operations import BINARY, Call, Operation, Parameter, Reply, json_response
from ingress.routes.photos import thumbs
from schemas.topics import Lane

ImageT = TypeVar("ImageT", bound=ShownImage)
PART_OVERHEAD_BYTES = 16 * 1024  # boundaries and headers of one part


async def upload(call: Call) -> Response:
    """Accept one or several images. Each succeeds or fails by itself."""
    settings, request, lane = call.deps.settings, call.request, _lane(call)
    limit = _body_limit(call)
    check_announced(request, limit)
    await call.deps.departures.check_room()
    entries: list[UploadedImage] = []
    problems: list[Problem] = []
    with call.memory(_memory_needed(request, settings.max_image_bytes)):
        async with aclosing(_files(call, limit)) as files:
            try:
                async for file in files:
                    entries.append(await _take(call, file, lane, problems))  # noqa: PERF401 - kept on errors
            except Problem as problem:
                raise _with_entries(problem, entries) from problem
    if not entries:
        raise Problem("malformed_multipart", "no part named 'file'")
    if len(problems) == len(entries):
        raise _all_rejected(problems)
    return json_response(Upload(images=tuple(entries)), HTTPStatus.ACCEPTED)


async def show(call: Call) -> Response:
    """Return all that is known of an image."""
    status = await _visible(call)
    return json_response(shown(call, status, ShownImage))


async def content(call: Call) -> Response:
    """Return an image's bytes, to a key that may see it or for a signed link."""
    status = await _visible(call)
    deps, etag = call.deps, etag_of(status)
    if etag is not None and etag in call.request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    # Reserved until the client has received the bytes, so that slow readers count.
    call.hold(call.memory(status.size_bytes or deps.settings.max_image_bytes))
    (found,) = await deps.blobs.read_all([status.uri])
    if isinstance(found, PermanentError):
        raise Problem("image_not_found", f"its bytes are gone: {found}")
    return picture_response(found, status, deps.guards.probe)


def shown(call: Call, status: ImageStatus, model: type[ImageT], **more: Any) -> ImageT:
    """Return an image as clients see it; `more` gives the fields that only `model` has."""
    sha256 = status.tagged_sha256 or status.sha256
    error = None
    if status.reason is not None:
        error = FileError(
            code=status.reason, title="The image could not be tagged", detail=status.detail or ""
        )
    return model.of(
        status,
        image_path=status.path,
        exif_datetime=exif_text(status),
        sha256=sha256.hex() if sha256 else None,
        colour=None if status.colour is None else f"#{status.colour:06x}",
        error=error,
        links={**image_links(call, status), "thumb": thumbs.link(call, status)},
        **more,
    )


def exif_text(status: ImageStatus) -> str | None:
    """Return the time of the shot as EXIF writes it."""
    taken = status.exif_datetime
    return taken.strftime("%Y:%m:%d %H:%M:%S") if taken else None


def image_links(call: Call, image: ImageStatus | KeptImage) -> dict[str, str]:
    """Return the addresses of an image's status and bytes."""
    path = f"/images/{image.image_id}"
    return {"self": call.link(path), "content": call.link(f"{path}/content")}


async def _visible(call: Call) -> ImageStatus:
    return await visible_image(call.deps.pool, call.path_id("image_id"), call.principal)


def _body_limit(call: Call) -> int:
    settings = call.deps.settings
    if _is_multipart(call.request):
        return settings.max_files * (settings.max_image_bytes + PART_OVERHEAD_BYTES)
    return settings.max_image_bytes


def _is_multipart(request: Request) -> bool:
    return _media_type(request) == "multipart/form-data"


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _memory_needed(request: Request, max_image_bytes: int) -> int:
    # One image at a time is in memory, whatever the number of files.
    announced = request.headers.get("content-length")
    return min(int(announced), max_image_bytes) if announced else max_image_bytes


def _files(call: Call, limit: int) -> AsyncGenerator[ReceivedFile, None]:
    settings, request = call.deps.settings, call.request
    pieces = stream(request, max_bytes=limit, pace=call.pace)
    if _is_multipart(request):
        return read_files(
            pieces,
            request.headers["content-type"],
            max_file_bytes=settings.max_image_bytes,
            max_files=settings.max_files,
        )
    kind = _media_type(request)
    if not (kind.startswith("image/") or kind == "application/octet-stream"):
        raise Problem(
            "unsupported_media_type",
            f"content type {kind or '(none)'!r}; this takes multipart/form-data, image/* or"
            " application/octet-stream",
        )
    return _raw_file(pieces, request.query_params.get("filename", ""), settings.max_image_bytes)


async def _raw_file(
    pieces: AsyncGenerator[bytes, None], filename: str, max_bytes: int
) -> AsyncGenerator[ReceivedFile, None]:
    buffer = FileBuffer(max_bytes, filename)
    async for piece in pieces:
        buffer.write(piece)
    yield buffer.finish()


async def _take(
    call: Call, file: ReceivedFile, lane: Lane, problems: list[Problem]
) -> UploadedImage:
    try:
        kept = await keep_upload(call, file, lane)
    except Problem as problem:
        problems.append(problem)
        error = FileError(code=problem.kind.code, title=problem.kind.title, detail=problem.detail)
        return UploadedImage(filename=file.filename, status="rejected", error=error)
    return UploadedImage(
        filename=file.filename,
        image_path=kept.path,
        image_id=kept.image_id,
        status="accepted",
        duplicate=kept.is_duplicate,
        token=kept.token.encode(),
        links=image_links(call, kept),
    )


def _lane(call: Call) -> Lane:
    text = call.request.query_params.get("lane", Lane.FRESH)
    try:
        return Lane(text)
    except ValueError as error:
        detail = f"lane={text[:40]!r} is neither fresh nor bulk"
        raise Problem(
            "invalid_request", detail, Extra(errors=(FieldError("lane", detail),))
        ) from error


def _with_entries(problem: Problem, entries: list[UploadedImage]) -> Problem:
    """Return the problem with the files that were accepted before it, which stay."""
    accepted = [entry.model_dump(mode="json") for entry in entries]
    extra = Extra(problem.extra.errors, problem.extra.headers, {"images": accepted})
    return Problem(problem.kind.code, problem.detail, extra if accepted else problem.extra)


def _all_rejected(problems: list[Problem]) -> Problem:
    errors = tuple(
        FieldError(f"/{number}", f"{problem.kind.code}: {problem.detail}")
        for number, problem in enumerate(problems)
    )
    return Problem(problems[0].kind.code, problems[0].detail, Extra(errors=errors))


_ID = "image_not_found"
#: docs/api.md, "Sending photos", says why.
_NAMES = (
    "The part's `filename` may be escaped as browsers do (`%22`, `%0D`, `%0A`) or whole, as in an"
    " address (`na%C3%AFve%20one.jpg`). What is behind its last slash or backslash is kept, at most"
    " 255 characters."
)
_UPLOAD_PROBLEMS = (
    "malformed_multipart", "receive_timeout", "body_too_large", "image_too_large",
    "too_many_files", "unsupported_media_type", "not_an_image", "image_unreadable",
    "invalid_request",
)  # fmt: skip
OPERATIONS = (
    Operation(
        "POST",
        "/images/upload",
        upload,
        "Upload one or several images",
        "images",
        (Reply(202, "Kept; each file has its own entry, refused ones with `error`.", Upload),),
        scope=Scope.UPLOAD,
        media=(
            (
                "multipart/form-data",
                {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {
                            "file": {
                                "type": "array",
                                "minItems": 1,
                                "items": BINARY,
                                "description": _NAMES,
                            }
                        },
                        "additionalProperties": False,
                    },
                    "encoding": {"file": {"contentType": "image/*"}},
                },
            ),
            ("image/*", {"schema": BINARY}),
            ("application/octet-stream", {"schema": BINARY}),
        ),
        parameters=(
            Parameter(
                "filename",
                "query",
                "Name of an image that is sent as the raw body: what is behind its last slash or"
                " backslash is kept, at most 255 characters.",
            ),
            Parameter(
                "lane",
                "query",
                "`bulk`: nobody waits for these, so they are tagged when no other upload waits.",
                (("type", "string"), ("enum", list(Lane)), ("default", Lane.FRESH)),
            ),
        ),
        problems=_UPLOAD_PROBLEMS,
    ),
    Operation(
        "GET",
        "/images/{image_id}",
        show,
        "Status and tags of an image",
        "images",
        (Reply(200, "All that is known of it.", ShownImage),),
        scope=Scope.READ,
        problems=(_ID,),
    ),
    Operation(
        "GET",
        "/images/{image_id}/content",
        content,
        "The image itself",
        "images",
        (
            Reply(200, "The bytes as they were sent.", media_type="image/*"),
            Reply(304, "The client has them already (`If-None-Match`)."),
        ),
        scope=Scope.READ,
        parameters=(
            Parameter("expires", "query", "From a signed link."),
            Parameter("signature", "query", "From a signed link; no key is needed then."),
        ),
        problems=(_ID, "link_invalid"),
        takes_links=True,
    ),
)
