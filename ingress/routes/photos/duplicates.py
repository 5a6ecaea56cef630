"""Images that are alike: `/images/{image_id}/similar`, `/duplicates`. Nothing is merged."""

import re
from uuid import UUID

from starlette.responses import Response

from core.storage.archive import image_tags
from core.storage.finding import decisions, duplicates, evidence
from core.storage.finding.decisions import AlikeSubject, Decision
from core.storage.finding.duplicates import Level
from core.storage.finding.evidence import Evidence
from core.transaction import Transaction
from ingress.auth.api_keys import Scope
from ingress.auth.ownership import require_change, visible_image
from ingress.http.cursors import limit_of
from ingress.http.parameters import boolean_of, read, wrong
from ingress.http.problems import Extra, FieldError, Problem
from ingress.models.duplicates import (
    AlikeImage,
    ComparedImage,
    DecidablePair,
    DuplicateChoice,
    DuplicateGroup,
    Duplicates,
    DuplicateTotals,
    KeepSuggestion,
    ShownDecision,
    SimilarImages,
)
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from ingress.reading.alike import (
    DIGITS,
    ID_DIGITS,
    LEVELS,
    OWN_DIGITS,
    TIME_DIGITS,
    FoundGroup,
    Totals,
)

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_DIGITS = (DIGITS, *(TIME_DIGITS + digits for digits in (ID_DIGITS, DIGITS, OWN_DIGITS)))
CURSOR = f"^({'|'.join(f'[0-9a-f]{{{digits}}}' for digits in _DIGITS)})$"
_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
PAIR = f"^{_ID}~{_ID}$"


async def similar(call: Call) -> Response:
    """Return the images that are like this one: same bytes, same photo or same burst."""
    image_id = call.path_id("image_id")
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    async with call.deps.pool.connection() as connection:
        await visible_image(connection, image_id, call.caller)
    # Pages of text are compared with no connection held.
    found = await duplicates.alike(call.deps.pool, image_id, owner=call.own_only, limit=limit)
    shown = tuple(AlikeImage.of(one, image_path=one.path) for one in found.images)
    return json_response(SimilarImages(images=shown, is_complete=found.is_complete))


async def report(call: Call) -> Response:
    """Return groups of one level: undecided ones, or pairs that were decided about."""
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    level, cursor, alike = _level(call), _cursor(call), call.deps.alike
    find = alike.decided if _flag(call, "decided") else alike.page
    found = await find(level, owner=call.own_only, cursor=cursor, limit=limit)
    totals = await alike.totals(call.own_only) if _flag(call, "total") else None
    return json_response(
        Duplicates(
            groups=tuple(_group(call, one) for one in found.groups),
            next=found.next,
            is_complete=found.is_complete,
            totals=None if totals is None else _totals(totals),
            bytes_to_gain=None if totals is None else totals.bytes_to_gain[level],
        )
    )


async def decide(call: Call) -> Response:
    """Keep both of two images, or one: the other is excluded from answers, and not deleted.

    It holds for the contents: tagging again, scanning again and moving the files change nothing.
    """
    one_id, other_id = _pair(call)
    choice = await call.body(DuplicateChoice)
    keep = choice.keep if isinstance(choice.keep, UUID) else None
    if keep is not None and keep not in {one_id, other_id}:
        detail = f"keep: {keep} is neither `both` nor one of the two"
        raise Problem("invalid_request", detail, Extra(errors=(FieldError("/keep", detail),)))
    async with call.deps.pool.transaction() as tx:
        one, other = await _changeable(tx, call, one_id, other_id)
        await decisions.decide(tx, one, other, keep=keep, by=call.caller.owner, owner=call.own_only)
    return await _as_it_is(call, one_id, other_id)


async def take_back(call: Call) -> Response:
    """Forget what was decided about two images, and the exclusion that the decision made."""
    one_id, other_id = _pair(call)
    async with call.deps.pool.transaction() as tx:
        one, other = await _changeable(tx, call, one_id, other_id)
        await decisions.take_back(tx, one, other, by=call.caller.owner, owner=call.own_only)
    return await _as_it_is(call, one_id, other_id)


async def _changeable(
    tx: Transaction, call: Call, one_id: UUID, other_id: UUID
) -> tuple[AlikeSubject, AlikeSubject]:
    """Return two images that the caller may change, locked."""
    await image_tags.lock(tx, [one_id, other_id])
    for image_id in (one_id, other_id):
        await require_change(tx, image_id, call.caller)
    known = await evidence.images(tx, [one_id, other_id])
    if len(known) < 2:
        raise Problem("pair_not_found", "one of the two has no tags, or its file is not there")
    subjects = [AlikeSubject(one.image_id, one.sha256) for one in known.values()]
    return subjects[0], subjects[1]


async def _as_it_is(call: Call, one_id: UUID, other_id: UUID) -> Response:
    group = await call.deps.alike.pair(one_id, other_id, owner=call.own_only)
    if group is None:
        raise Problem("pair_not_found", "one of the two was deleted just now")
    return json_response(_group(call, group))


def _group(call: Call, group: FoundGroup) -> DuplicateGroup:
    images, pairs = group.images, [_decidable(*pair) for pair in group.pairs]
    suggested = None if group.is_decided else evidence.suggestion(images)
    made = [pair.decision for pair in pairs if pair.decision is not None]
    last = max(made, key=lambda one: one.at, default=None)
    return DuplicateGroup(
        level=group.level,
        pair=pairs[0].pair,
        pairs=tuple(pairs),
        decision=last if group.is_decided else None,
        sha256=images[0].sha256.hex() if group.level == "identical" else None,
        cosine=group.cosine,
        hash_distance=group.hash_distance,
        texts_differ=group.texts_differ,
        seconds_apart=_seconds_apart(group),
        suggestion=None if suggested is None else KeepSuggestion.of(suggested),
        images=tuple(_compared(call, one) for one in images),
        image_ids=tuple(one.image_id for one in images),
        image_paths=tuple(one.path for one in images),
    )


def _decidable(one: Evidence, other: Evidence, decision: Decision | None) -> DecidablePair:
    pair = "~".join(map(str, sorted((one.image_id, other.image_id))))
    return DecidablePair(pair=pair, decision=None if decision is None else _decision(decision))


def _decision(decision: Decision) -> ShownDecision:
    return ShownDecision(
        keep=decision.keep or "both", by=decision.decided_by, at=decision.decided_at
    )


def _compared(call: Call, image: Evidence) -> ComparedImage:
    link, digest, taken = call.link(f"/images/{image.image_id}"), image.sha256.hex(), None
    if image.exif_datetime is not None:
        taken = f"{image.exif_datetime:%Y:%m:%d %H:%M:%S}"
    return ComparedImage.of(
        image,
        image_path=image.path,
        exif_datetime=taken,
        sha256=digest,
        links={
            "self": link,
            "content": f"{link}/content",
            "thumb": f"{link}/thumb?v={digest[:12]}",
        },
    )


def _seconds_apart(group: FoundGroup) -> float | None:
    taken = [one.exif_datetime for one in group.images if one.exif_datetime is not None]
    if len(taken) < len(group.images):
        return None
    return (max(taken) - min(taken)).total_seconds()


def _totals(totals: Totals) -> DuplicateTotals:
    return DuplicateTotals(
        identical=totals.groups["identical"],
        same_photo=totals.groups["same_photo"],
        burst=totals.groups["burst"],
        bytes_to_gain=dict(totals.bytes_to_gain),
        is_exact=totals.is_exact,
    )


def _level(call: Call) -> Level:
    text = call.request.query_params.get("level", "identical")
    for level in LEVELS:
        if text == level:
            return level
    raise wrong("level", f"{text[:100]!r} must be one of {', '.join(LEVELS)}")


def _flag(call: Call, name: str) -> bool:
    return read(name, call.request.query_params.get(name, "false"), boolean_of)


def _cursor(call: Call) -> str:
    text = call.request.query_params.get("cursor")
    if text is not None and not re.fullmatch(CURSOR, text):
        raise wrong("cursor", f"{text[:100]!r} is not the cursor of a page")
    return text or ""


def _pair(call: Call) -> tuple[UUID, UUID]:
    text = call.request.path_params["pair"]
    if not re.fullmatch(PAIR, text):
        raise Problem("pair_not_found", f"{text[:100]!r} is not two image ids joined by ~")
    one, other = (UUID(part) for part in text.split("~"))
    if one >= other:
        raise Problem("pair_not_found", "the smaller of the two ids stands first")
    return one, other


_LIMIT = limit_of(MAX_LIMIT)
_FLAG = (("type", "string"), ("enum", ["true", "false"]))
_PAIR = Parameter("pair", "path", "As groups have it.")
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
        "Groups of images with the same bytes, pairs that are the same photo, bursts",
        "images",
        (Reply(200, "At most `limit` groups.", Duplicates),),
        scope=Scope.READ,
        parameters=(
            _LIMIT,
            Parameter(
                "level",
                "query",
                "The same bytes, if absent.",
                (("type", "string"), ("enum", list(LEVELS))),
            ),
            Parameter(
                "decided",
                "query",
                "`true`: pairs that were decided about, the newest decision first.",
                _FLAG,
            ),
            Parameter("total", "query", "Count what is undecided, at all levels.", _FLAG),
            Parameter(
                "cursor",
                "query",
                "`next` of the page before.",
                (("type", "string"), ("pattern", CURSOR)),
            ),
        ),
        problems=("invalid_request",),
    ),
    Operation(
        "PUT",
        "/duplicates/{pair}",
        decide,
        "Decide about two images that are alike",
        "images",
        (Reply(200, "Decided; it outlives tagging, scanning and moving.", DuplicateGroup),),
        scope=Scope.UPLOAD,
        body=DuplicateChoice,
        parameters=(_PAIR,),
        problems=(
            "pair_not_found", "image_not_found", "malformed_json", "receive_timeout",
            "body_too_large", "unsupported_media_type", "invalid_request",
        ),
    ),
    Operation(
        "DELETE",
        "/duplicates/{pair}",
        take_back,
        "Take back what was decided about two images",
        "images",
        (Reply(200, "Undecided again, as if it had not been.", DuplicateGroup),),
        scope=Scope.UPLOAD,
        parameters=(_PAIR,),
        problems=("pair_not_found", "image_not_found"),
    ),
)  # fmt: skip
