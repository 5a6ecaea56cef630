"""`PATCH, DELETE /images/{image_id}`: decisions of people about an image."""

from uuid import UUID

from starlette.responses import Response

from core.errors import RecordRefused
from core.storage.archive import curation, image_deletion, image_tags
from core.storage.archive.image_deletion import Departure
from core.tags import TagScore, score_to_int
from core.transaction import Transaction
from ingress.auth.access import Principal
from ingress.auth.api_keys import Scope
from ingress.auth.ownership import not_found, require_change, visible_image
from ingress.http.problems import Extra, FieldError, Problem
from ingress.models.images import CuratedImage, DeletedImage, ImagePatch, ShownImage
from ingress.operations import Call, Operation, Reply, json_response
from ingress.routes.photos.images import shown


async def patch(call: Call) -> Response:
    """Set tags by hand, or return to the model's; exclude the image from answers, or include it."""
    change = await call.body(ImagePatch)
    image_id = call.path_id("image_id")
    async with call.deps.pool.transaction() as tx:
        # Held from here on, so that whoever may change it now still may at the end.
        await image_tags.lock(tx, [image_id])
        await require_change(tx, image_id, call.caller)
        await _apply(tx, image_id, change, call.caller.owner)
        now = await visible_image(tx, image_id, call.caller)
    return json_response(
        CuratedImage(
            image=shown(call, now, ShownImage),
            excluded=now.excluded,
            is_tagged_by_hand=now.hand_tags is not None or bool(now.added_tags),
        )
    )


async def delete(call: Call) -> Response:
    """Delete an image: it is never an answer again, and nobody sees it.

    An owner's deletion ends that one's ownership, and deletes the image where nobody else owns it
    and it is not open to all. An administrator's deletes it in any case. Its bytes are deleted soon
    after, unless another image has the same. A pending webhook with it becomes `query.failed`,
    reason `image_gone`. Uploaded or announced again, it is a new image.
    """
    image_id = call.path_id("image_id")
    async with call.deps.pool.transaction() as tx:
        departure = await _delete(tx, image_id, call.caller)
        if departure is None:
            await require_change(tx, image_id, call.caller)
            raise not_found(image_id)
    return json_response(
        DeletedImage(image_id=image_id, deleted_at=departure.at, remains=departure.remains)
    )


async def _delete(tx: Transaction, image_id: UUID, caller: Principal) -> Departure | None:
    if not caller.is_admin:
        return await image_deletion.leave(tx, image_id, caller.owner)
    deleted_at = await image_deletion.delete(tx, image_id, by=caller.owner)
    return None if deleted_at is None else Departure(deleted_at, remains=False)


async def _apply(tx: Transaction, image_id: UUID, change: ImagePatch, by: str) -> None:
    if "tags" in change.model_fields_set:
        if change.tags is None:
            await curation.clear_tags(tx, image_id, by=by)
        else:
            await _set_tags(tx, image_id, change, by)
    if change.excluded is not None:
        await curation.exclude(tx, image_id, excluded=change.excluded, by=by)


async def _set_tags(tx: Transaction, image_id: UUID, change: ImagePatch, by: str) -> None:
    tags = [TagScore(tag.tag, score_to_int(tag.score)) for tag in change.tags or ()]
    tags.sort(key=lambda tag: -tag.score)
    try:
        await curation.set_tags(tx, image_id, tags, by=by)
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
        "Delete an image, or one's ownership of it",
        "images",
        (
            Reply(
                200,
                "Deleted; arrivals that are older do not bring it back. With `remains` it is still"
                " there for others.",
                DeletedImage,
            ),
        ),
        scope=Scope.UPLOAD,
        problems=("image_not_found",),
    ),
)  # fmt: skip
