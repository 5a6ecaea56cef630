"""`/labels`: the default labels. A change re-scores the archive from embeddings."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from uuid import UUID

from starlette.responses import Response

from core.errors import RecordRefused
from core.storage import labels
from core.storage.scoring import lessons, rescoring
from core.storage.scoring.lessons import Learnt
from core.tags import Label
from core.transaction import Transaction
from ingress.auth.api_keys import Scope
from ingress.http.bodies import read_model
from ingress.http.problems import Extra, FieldError, Problem
from ingress.models.labels import ShownLabel, ShownLabels, ShownRescoring, ShownTeaching
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from schemas.labels import LabelSetText

#: A label with ten words and prompts takes about 400 bytes: room for the 30,000 allowed.
MAX_BODY_BYTES = 16 * 1024 * 1024
_ETAG = re.compile(r'"([0-9]{1,9})"')


async def show(call: Call) -> Response:
    """Return the labels in force, and the progress of re-scoring the archive with them."""
    return await _answer(call, call.deps.pool)


async def put(call: Call) -> Response:
    """Replace the default labels, all at once."""
    matched = _if_match(call)
    with call.memory(MAX_BODY_BYTES):
        given = await read_model(
            call.request, LabelSetText, max_bytes=MAX_BODY_BYTES, pace=call.pace
        )
    new = [Label(**label.model_dump()) for label in given.labels]
    async with call.deps.pool.transaction() as tx:
        await labels.lock_version(tx)
        for code, expected in (("version_not_met", matched), ("labels_changed", given.version)):
            if expected is not None and expected != await labels.lock_version(tx):
                raise Problem(code, f"version {expected} is not in force")
        await require_fit(call, tx, new)
        try:
            await labels.redefine(tx, new, expected=None)
        except RecordRefused as error:
            extra = Extra(errors=(FieldError("/labels", str(error)),))
            raise Problem("invalid_request", str(error), extra) from error
        return await _answer(call, tx)


async def require_fit(call: Call, connection: Transaction, new: Sequence[Label]) -> None:
    """Raise unless the photos of these labels can teach them.

    Raises:
        Problem: `invalid_request`, with the place of the label or of the photo.
    """
    if all(label.by_words and not label.photos for label in new):
        return
    before = (await labels.current(connection)).labels
    found = await lessons.unfit(connection, new, before, call.own_only)
    if found is not None:
        photo = "" if found.photo is None else f"/{found.photo}"
        place = FieldError(f"/labels/{found.label}/photos{photo}", found.why)
        raise Problem("invalid_request", found.why, Extra(errors=(place,)))


def _if_match(call: Call) -> int | None:
    text = call.request.headers.get("if-match", "*").strip()
    if text == "*":
        return None
    found = _ETAG.fullmatch(text)
    if found is None:
        raise Problem("version_not_met", f'If-Match {text[:100]!r} is not the ETag of GET, as "7"')
    return int(found[1])


async def _answer(call: Call, connection: Transaction) -> Response:
    current = await labels.current(connection)
    photos = {photo for label in current.labels for photo in label.photos}
    visible = await lessons.shown_to(connection, photos, call.own_only) if photos else frozenset()
    taught = await lessons.states(connection, current.version)
    shown = ShownLabels(
        version=current.version,
        changed_at=await labels.changed_at(connection),
        labels=tuple(_shown(label, taught.get(label.name), visible) for label in current.labels),
        rescoring=await _rescoring(connection, current.version),
    )
    return json_response(shown, HTTPStatus.OK, {"ETag": f'"{current.version}"'})


def _shown(label: Label, taught: Learnt | None, visible: frozenset[UUID]) -> ShownLabel:
    return ShownLabel(
        name=label.name,
        aliases=label.aliases,
        templates=label.templates,
        threshold=label.threshold,
        photos=tuple(photo for photo in label.photos if photo in visible),
        by_words=label.by_words,
        teaching=ShownTeaching.of(taught) if taught is not None and label.photos else None,
    )


async def _rescoring(connection: Transaction, version: int) -> ShownRescoring:
    of_models = await rescoring.progress(connection)
    begun = [each for each in of_models if each.version == version]
    older = await rescoring.count_older(connection, version)
    return ShownRescoring(
        is_done=older == 0,
        total=sum(each.total for each in begun),
        rescored=sum(each.rescored for each in begun),
        older=older,
    )


_BODY_PROBLEMS = ("malformed_json", "receive_timeout", "body_too_large", "unsupported_media_type")
OPERATIONS = (
    Operation(
        "GET",
        "/labels",
        show,
        "The default labels, and how far the archive has come with them",
        "labels",
        (Reply(200, "In their order.", ShownLabels, headers=(("ETag", "The version."),)),),
        scope=Scope.READ,
    ),
    Operation(
        "PUT",
        "/labels",
        put,
        "Put other default labels in force; the archive is re-scored by and by",
        "labels",
        (Reply(200, "In force.", ShownLabels, headers=(("ETag", "The version."),)),),
        scope=Scope.ADMIN,
        body=LabelSetText,
        parameters=(
            Parameter(
                "If-Match",
                "header",
                "The ETag of the labels that these are to replace.",
                (("type", "string"), ("pattern", r'^(\*|"[0-9]{1,9}")$')),
            ),
        ),
        problems=(*_BODY_PROBLEMS, "invalid_request", "labels_changed", "version_not_met"),
    ),
)
