"""`/labels/preview`: what other labels would change. A tagging process computes it."""

from dataclasses import replace
from http import HTTPStatus
from uuid import UUID, uuid4

from starlette.responses import Response

from core.storage import labels
from core.storage.scoring import label_previews
from core.storage.scoring.label_previews import Preview
from core.tags import Label
from ingress.auth.api_keys import Scope
from ingress.http.bodies import read_model
from ingress.http.problems import Problem
from ingress.http.waiting import wait_until
from ingress.models.labels import LabelPreview, PreviewRequest
from ingress.operations import Call, Operation, Reply, json_response
from ingress.routes.labelling.labels import MAX_BODY_BYTES, require_fit


async def preview(call: Call) -> Response:
    """Request a preview, and wait for it for a while."""
    call.hold_waiting()
    with call.memory(MAX_BODY_BYTES):
        given = await read_model(
            call.request, PreviewRequest, max_bytes=MAX_BODY_BYTES, pace=call.pace
        )
    preview_id = uuid4()
    async with call.deps.pool.transaction() as tx:
        version, _ = await labels.state(tx)
        if given.version not in {None, version}:
            raise Problem("labels_changed", f"version {given.version} is not in force")
        new = [Label(**label.model_dump()) for label in given.labels]
        await require_fit(call, tx, new)
        spelling = await labels.spelled(tx, [label.name for label in new])
        new = [replace(label, name=spelling[label.name]) for label in new]
        await label_previews.ask(
            tx,
            preview_id,
            owner=call.caller.owner,
            labels=new,
            sample=given.sample,
        )
    seen = await wait_until(
        lambda: _look(call, preview_id),
        lambda seen: seen is None or seen.state != "waiting",
        call.wait_limits(call.deps.settings.wait_for_tags_s),
    )
    return _answer(call, preview_id, seen)


async def show_preview(call: Call) -> Response:
    """Return a preview that was asked for."""
    preview_id = call.path_id("preview_id")
    return _answer(call, preview_id, await _look(call, preview_id))


async def _look(call: Call, preview_id: UUID) -> Preview | None:
    return await label_previews.get(call.deps.pool, preview_id)


def _answer(call: Call, preview_id: UUID, seen: Preview | None) -> Response:
    if seen is None:
        raise Problem("preview_not_found", f"no preview {preview_id}: a newer one replaced it")
    link = call.link(f"/labels/preview/{preview_id}")
    shown = LabelPreview.of(seen, links={"self": link})
    if seen.state == "waiting":
        headers = {"Location": link, "Retry-After": "1"}
        return json_response(shown, HTTPStatus.ACCEPTED, headers)
    return json_response(shown)


_ANSWERS = (
    Reply(200, "Made, or it failed: then `error` says why.", LabelPreview),
    Reply(
        202,
        "Not made yet: look again later.",
        LabelPreview,
        headers=(("Location", "Where it will be."),),
    ),
)
OPERATIONS = (
    Operation(
        "POST",
        "/labels/preview",
        preview,
        "What other labels would change, over a sample; nothing is changed",
        "labels",
        _ANSWERS,
        scope=Scope.ADMIN,
        body=PreviewRequest,
        problems=(
            "malformed_json", "receive_timeout", "body_too_large", "unsupported_media_type",
            "invalid_request", "labels_changed", "preview_not_found",
        ),
    ),
    Operation(
        "GET",
        "/labels/preview/{preview_id}",
        show_preview,
        "A preview that was asked for",
        "labels",
        _ANSWERS,
        scope=Scope.ADMIN,
        problems=("preview_not_found",),
    ),
)  # fmt: skip
