"""`PATCH /images/{image_id}`: what people decide about an image. It outlives every tagging."""

from starlette.responses import Response

from core.errors import RecordRefused
from core.storage import curation
from core.storage.images import ImageStatus
from core.tags import TagScore, score_to_int
from core.transaction import Transaction
from ingress.api_keys import Scope
from ingress.operations import Answer, Call, Operation, json_response
from ingress.problems import Extra, FieldError, Problem
from ingress.requests import ImagePatch
from ingress.responses import CuratedImage
from ingress.routes.images import shown


async def patch(call: Call) -> Response:
    """Set tags by hand or give them back to the model; exclude from the answers or take back."""
    wanted = await call.body(ImagePatch)
    image_id = call.path_id("image_id")
    async with call.parts.tables.database.transaction() as tx:
        status = await call.parts.tables.images.status(tx, image_id)
        # Another owner's image and none at all give the same answer: ids must not be probed.
        if status is None or not call.caller.owns(status.owner):
            raise Problem("image_not_found", f"no image {image_id} that is yours to change")
        await _apply(tx, status, wanted)
        decided = await curation.state(tx, image_id)
        now = await call.parts.tables.images.status(tx, image_id) or status
    return json_response(
        CuratedImage(
            image=shown(call, now),
            excluded=decided is not None and decided.excluded,
            is_tagged_by_hand=decided is not None and decided.tags is not None,
        )
    )


async def _apply(tx: Transaction, status: ImageStatus, wanted: ImagePatch) -> None:
    if "tags" in wanted.model_fields_set:
        if wanted.tags is None:
            await curation.clear_tags(tx, status.image_id)
        else:
            await _set_tags(tx, status, wanted)
    if wanted.excluded is not None:
        await curation.exclude(tx, status.image_id, excluded=wanted.excluded)


async def _set_tags(tx: Transaction, status: ImageStatus, wanted: ImagePatch) -> None:
    tags = [TagScore(tag.tag, score_to_int(tag.score)) for tag in wanted.tags or ()]
    tags.sort(key=lambda tag: -tag.score)
    try:
        await curation.set_tags(tx, status.image_id, tags)
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
        (Answer(200, "Decided; it outlives tagging again and re-scoring.", CuratedImage),),
        scope=Scope.UPLOAD,
        body=ImagePatch,
        problems=(
            "image_not_found", "malformed_json", "receive_timeout", "body_too_large",
            "unsupported_media_type", "invalid_request",
        ),
    ),
)  # fmt: skip
