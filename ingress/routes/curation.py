"""`PATCH, DELETE /images/{image_id}`: decisions of people about an image."""

from uuid import UUID

from starlette.responses import Response

from core.errors import RecordRefused
from core.storage.archive import curation, image_deletion, images
from core.storage.archive.images import ImageStatus
from core.tags import TagScore, score_to_int
from core.transaction import Transaction
from ingress.auth.api_keys import Scope
from ingress.http.problems import Extra, FieldError, Problem
from ingress.models.images import CuratedImage, DeletedImage, ImagePatch, ShownImage
from ingress.operations import Call, Operation, Reply, json_response
from ingress.routes.images import shown


async def patch(call: Call) -> Response:
    """Set tags by hand, or return to the model's; exclude the image from answers, or include it."""
    change = await call.body(ImagePatch)
    image_id = call.path_id("image_id")
    async with call.deps.pool.transaction() as tx:
        status = await images.status(tx, image_id)
        # Another owner's image and an unknown id give the same answer: nobody can probe ids.
        if status is None or not call.caller.owns(status.owner):
            raise _not_yours(image_id)
        await _apply(tx, status, change, call.caller.owner)
        decided = await curation.state(tx, image_id)
        now = await images.status(tx, image_id)
        if now is None:  # deleted since it was read
            raise _not_yours(image_id)
    return json_response(
        CuratedImage(
            image=shown(call, now, ShownImage),
            excluded=decided is not None and decided.excluded,
            is_tagged_by_hand=decided is not None and decided.tags is not None,
        )
    )


async def delete(call: Call) -> Response:
    """Delete an image: it is never an answer again, and nobody sees it.

    Its bytes are deleted soon after, unless another image has the same. A pending webhook with it
    becomes `query.failed`, reason `image_gone`. Uploaded or announced again, it is a new image.
    """
    image_id = call.path_id("image_id")
    async with call.deps.pool.transaction() as tx:
        deleted_at = await image_deletion.delete(
            tx, image_id, owner=call.own_only, by=call.caller.owner
        )
    if deleted_at is None:
        raise _not_yours(image_id)
    return json_response(DeletedImage(image_id=image_id, deleted_at=deleted_at))


def _not_yours(image_id: UUID) -> Problem:
    return Problem("image_not_found", f"no image {image_id} that is yours to change")


async def _apply(tx: Transaction, status: ImageStatus, change: ImagePatch, by: str) -> None:
    if "tags" in change.model_fields_set:
        if change.tags is None:
            await curation.clear_tags(tx, status.image_id, by=by)
        else:
            await _set_tags(tx, status, change, by)
    if change.excluded is not None:
        await curation.exclude(tx, status.image_id, excluded=change.excluded, by=by)


async def _set_tags(tx: Transaction, status: ImageStatus, change: ImagePatch, by: str) -> None:
    tags = [TagScore(tag.tag, score_to_int(tag.score)) for tag in change.tags or ()]
    tags.sort(key=lambda tag: -tag.score)
    try:
        await curation.set_tags(tx, status.image_id, tags, by=by)
    except RecordRefused as error:
        extra = Extra(errors=(FieldError("/tags", str(error)),))
        raise Problem("invalid_request", str(error), extra) from error


OPERATIONS = (
    Operation(
        "PATCH",
        "/images/{image_id}",
        patch,
        "Set tags by hand, exclude from the answers",
        "images",
        (Reply(200, "Decided; it outlives tagging again and re-scoring.", CuratedImage),),
        scope=Scope.UPLOAD,
        body=ImagePatch,
        problems=(
            "image_not_found", "malformed_json", "receive_timeout", "body_too_large",
            "unsupported_media_type", "invalid_request",
        ),
    ),
    Operation(
        "DELETE",
        "/images/{image_id}",
        delete,
        "Delete an image",
        "images",
        (Reply(200, "Deleted; arrivals that are older do not bring it back.", DeletedImage),),
        scope=Scope.UPLOAD,
        problems=("image_not_found",),
    ),
)  # fmt: skip
