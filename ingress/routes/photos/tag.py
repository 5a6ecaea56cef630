"""`/tag`: files and directories under the allowed roots."""

from collections.abc import Mapping
from http import HTTPStatus
from uuid import UUID, uuid4

from starlette.responses import Response

from core.blobs.kinds import wanted_extensions
from core.errors import ImageMissing
from core.storage import asking
from core.storage.archive import images
from core.storage.archive.images import ImageStatus
from core.storage.folders import jobs
from core.storage.folders.jobs import DirectoryOptions
from ingress.accepting import announce_file
from ingress.auth.api_keys import Scope
from ingress.http.problems import Extra, FieldError, Problem
from ingress.http.repeating import (
    KEY,
    PROBLEMS,
    REPLAYED,
    REPLAYED_HEADER,
    answer_before,
    asked_once,
)
from ingress.http.waiting import wait_until
from ingress.models.tag import (
    AcceptedJob,
    PendingFile,
    TagDirectoryRequest,
    TaggedFile,
    TagImageRequest,
)
from ingress.operations import Call, Operation, Reply, json_response
from ingress.routes.photos.images import exif_text
from producers.images import Wishes

COUNT_FILES_S = 2.0  # a client waits no longer for `files_count`; it is null then


async def tag_image(call: Call) -> Response:
    """Announce a file for tagging, and wait a while for its tags."""
    asked = await call.body(TagImageRequest)
    _check_open(call)
    await call.deps.departures.check_room()
    call.hold_waiting()  # before the file is announced: a refusal changes nothing
    try:
        found = await call.deps.files.file(asked.image_path)
    except ImageMissing as error:
        raise _not_found(asked.image_path) from error
    before = await announce_file(call, found, Wishes(asked.tags, asked.top_k))
    status = await _tagged(call, before)
    if status is None:
        raise _not_found(asked.image_path)
    if not _is_done(status, before):
        return _pending(call, asked.image_path, status.image_id)
    return json_response(_result(asked.image_path, status))


async def tag_directory(call: Call) -> Response:
    """Start a job that announces all photos in a directory."""
    asked = await call.body(TagDirectoryRequest)
    _check_open(call)
    deps = call.deps
    _check_extensions(asked.file_extensions)
    try:
        place = await deps.files.directory(asked.directory_path)
        count = await deps.files.count(place, asked.file_extensions, within_s=COUNT_FILES_S)
    except ImageMissing as error:
        raise _not_found(asked.directory_path) from error
    job_id, once = uuid4(), asked_once(call, "tag directory", asked)
    async with deps.pool.transaction() as tx:
        if before := await answer_before(tx, once):
            return _accepted(AcceptedJob.model_validate(before), {REPLAYED: "true"})
        await jobs.create(
            tx,
            job_id=job_id,
            root=place.root,
            directory=place.relative,
            options=DirectoryOptions(asked.tags, asked.top_k, asked.file_extensions),
            owner=call.caller.owner,
            total=count,
        )
        answer = AcceptedJob(
            message=_begun(count),
            directory=asked.directory_path,
            files_count=count,
            job_id=job_id,
            links={"self": call.link(f"/jobs/{job_id}")},
        )
        if once is not None:
            await asking.answer(tx, once, answer.model_dump(mode="json"))
    return _accepted(answer)


def _accepted(answer: AcceptedJob, also: Mapping[str, str] | None = None) -> Response:
    headers = {"Location": answer.links["self"], **(also or {})}
    return json_response(answer, HTTPStatus.ACCEPTED, headers)


async def _tagged(call: Call, before: ImageStatus) -> ImageStatus | None:
    return await wait_until(
        lambda: images.status(call.deps.pool, before.image_id),
        lambda seen: seen is None or _is_done(seen, before),
        call.wait_limits(call.deps.settings.wait_for_tags_s),
    )


def _is_done(seen: ImageStatus, before: ImageStatus) -> bool:
    # Accepting does not change a known image's row; tagging does, also when it fails.
    return seen.updated_at != before.updated_at and seen.status in {"tagged", "failed"}


def _result(image_path: str, status: ImageStatus) -> TaggedFile:
    error = None
    if status.reason is not None:
        error = f"{status.reason}: {status.detail}" if status.detail else status.reason
    return TaggedFile(
        image_path=image_path,
        tags=tuple((tag["tag"], tag["score"]) for tag in status.tags or ()) if not error else (),
        exif_datetime=exif_text(status) if not error else None,
        error=error,
    )


def _pending(call: Call, image_path: str, image_id: UUID) -> Response:
    link = call.link(f"/images/{image_id}")
    pending = PendingFile(image_path=image_path, image_id=image_id, links={"self": link})
    headers = {"Location": link, "Retry-After": "1"}
    return json_response(pending, HTTPStatus.ACCEPTED, headers)


def _begun(count: int | None) -> str:
    if count is None:
        return "Tagging has begun; the images are still being counted."
    return f"Tagging of {count} image{'' if count == 1 else 's'} has begun."


def _check_extensions(extensions: tuple[str, ...] | None) -> None:
    try:
        wanted_extensions(extensions)
    except ValueError as error:
        field = FieldError("/file_extensions", str(error))
        raise Problem("invalid_request", str(error), Extra(errors=(field,))) from error


def _check_open(call: Call) -> None:
    if not call.deps.files.is_open:
        raise Problem("paths_disabled", "no root is allowed (ARCHIVE_ROOTS is empty)")


def _not_found(path: str) -> Problem:
    # Missing and forbidden paths give the same answer: nobody can probe outside of the roots.
    return Problem("path_not_found", f"{path[:300]!r}: nothing readable under the allowed roots")


_PROBLEMS = (
    "malformed_json", "invalid_request", "unsupported_media_type", "body_too_large",
    "receive_timeout", "paths_disabled", "path_not_found",
)  # fmt: skip
_LOCATION = (("Location", "Where its status is."),)
OPERATIONS = (
    Operation(
        "POST",
        "/tag/image",
        tag_image,
        "Tag a file under an allowed root",
        "tag",
        (
            Reply(200, "Tagged, or it could not be: then `error` says why.", TaggedFile),
            Reply(202, "Not tagged in time: look again later.", PendingFile, headers=_LOCATION),
        ),
        scope=Scope.PATHS,
        body=TagImageRequest,
        problems=_PROBLEMS,
    ),
    Operation(
        "POST",
        "/tag/directory",
        tag_directory,
        "Tag all photos in a directory under an allowed root",
        "tag",
        (Reply(202, "A job does it.", AcceptedJob, headers=(*_LOCATION, REPLAYED_HEADER)),),
        scope=Scope.PATHS,
        body=TagDirectoryRequest,
        parameters=(KEY,),
        problems=(*_PROBLEMS, *PROBLEMS),
    ),
)
