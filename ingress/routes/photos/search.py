"""`GET /images` with `text`, `tag`, `from` or `to`: search, page by page."""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from starlette.responses import Response

from core.relevance.matching import Matched
from core.storage.finding.search import Dated, Match, Visible
from core.tags import score_to_float
from ingress.http.problems import Extra, FieldError, Problem
from ingress.models.search import FoundImage, FoundPage, ShownMatch
from ingress.operations import Call, json_response
from ingress.reading import search
from ingress.reading.search import ImageSearch
from ingress.routes.photos.images import shown
from schemas.query import MAX_TEXT_CHARS

PARAMETERS = frozenset({"text", "tag", "from", "to"})
MAX_TAG_CHARS = 200
#: QUERY_MAX_CHARS may allow less.
TEXT = (("type", "string"), ("maxLength", MAX_TEXT_CHARS))


async def find(call: Call, *, job_id: UUID | None, status: str | None, limit: int) -> Response:
    """Return the images that match.

    Raises:
        Problem: `invalid_request` names the parameter.
    """
    wanted = ImageSearch(
        visible=Visible(
            owner=call.own_only,
            job_id=job_id,
            status=status,
        ),
        text=read_text(call),
        tag=_tag(call),
        since=read_moment(call, "from"),
        until=read_moment(call, "to"),
        after=_place(call),
    )
    has_labels = wanted.text is not None or wanted.tag is not None
    if wanted.after is not None and isinstance(wanted.after, Match) != has_labels:
        raise wrong("cursor", "not the cursor of a page of this search")
    found = await search.find(call.deps.pool, call.deps.reader, wanted, limit)
    page = FoundPage(
        images=tuple(
            shown(call, image, FoundImage, score=None if score is None else score_to_float(score))
            for image, score in found.images
        ),
        next=None if found.next is None else _cursor(found.next),
        order="relevance" if has_labels else "date",
        matched=matched_labels(found.matched),
    )
    return json_response(page)


def matched_labels(matched: Sequence[Matched]) -> tuple[ShownMatch, ...]:
    """Return labels as clients see them."""
    return tuple(ShownMatch.of(one, tag=one.label.name) for one in matched)


def wrong(name: str, why: str) -> Problem:
    """Return the problem that names a parameter."""
    detail = f"{name}: {why}"
    return Problem("invalid_request", detail, Extra(errors=(FieldError(name, detail),)))


def refuse_unknown(call: Call, known: frozenset[str]) -> None:
    """Refuse parameters that are not among the known ones.

    Raises:
        Problem: names the first of them and all that are known.
    """
    unknown = set(call.request.query_params) - known
    if unknown:
        raise wrong(min(unknown), f"known are {', '.join(sorted(known))}")


def read_text(call: Call) -> str | None:
    """Return the parameter `text`.

    Raises:
        Problem: it is longer than a query may be.
    """
    text = call.request.query_params.get("text")
    limit = call.deps.max_query_chars
    if text is not None and len(text) > limit:
        raise wrong("text", f"{len(text)} characters; the limit is {limit}")
    return text


def read_moment(call: Call, name: str) -> datetime | None:
    """Return a parameter with a date or a time; without a zone it is UTC.

    Raises:
        Problem: it is neither.
    """
    text = call.request.query_params.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise wrong(name, f"{text[:40]!r} is no ISO 8601 date or time") from error


def _tag(call: Call) -> str | None:
    tag = call.request.query_params.get("tag")
    if tag is not None and (not tag or len(tag) > MAX_TAG_CHARS or "\x00" in tag):
        raise wrong("tag", f"a tag has 1 to {MAX_TAG_CHARS} characters, none of them NUL")
    return tag


def _cursor(place: Match | Dated) -> str:
    if isinstance(place, Match):
        text = f"m {place.score} {place.ts} {place.number}"
    else:
        text = f"d {place.taken.isoformat()} {place.number}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(call: Call) -> Match | Dated | None:
    text = call.request.query_params.get("cursor")
    if text is None:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return _read_place(raw.decode("ascii").split(" "))
    except (binascii.Error, ValueError, OverflowError) as error:
        raise wrong("cursor", "not the cursor of a page") from error


def _read_place(fields: list[str]) -> Match | Dated:
    match fields:
        case ["m", score, ts, number]:
            place: Match | Dated = Match(int(score), int(ts), int(number))
        case ["d", taken, number]:
            place = Dated(datetime.fromisoformat(taken), int(number))
        case _:
            raise ValueError("neither")
    numbers = (place.number, place.score, place.ts) if isinstance(place, Match) else (place.number,)
    zoned = isinstance(place, Dated) and place.taken.tzinfo is not None
    if zoned or not all(-(2**62) <= number <= 2**62 for number in numbers):
        raise ValueError("no place")
    return place
