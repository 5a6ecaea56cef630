"""`GET /images`: the archive, page by page."""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from starlette.responses import Response

from core.relevance.matching import Matched
from core.relevance.terms import NamedLabel, terms_of
from core.storage.finding import image_pages
from core.storage.finding.orders import Match, Moment, Order, PagePlace
from core.tags import score_to_float
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, limit_of
from ingress.http.parameters import boolean_of, read, wrong
from ingress.models.search import FoundImage, FoundPage, ImageTotal, ShownMatch, ShownTerm
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from ingress.reading import filters
from ingress.reading.filters import MAX_TILES, AskedFilter
from ingress.routes.photos.images import shown

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_NUMBER_MOST = 2**62


async def browse(call: Call) -> Response:
    """Return the images that a filter finds; `next` is the cursor of the next page."""
    given = filters.read_filter(call)
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    asked = await filters.understand(call, given)
    are_tiles = given.ids is not None and given.order is None
    if are_tiles:
        limit = MAX_TILES
    after = _place(call, asked.order)
    async with call.deps.pool.connection() as connection:
        found = await image_pages.page(connection, asked.wanted, asked.order, limit + 1, after)
        total = None
        if read("total", call.request.query_params.get("total", "false"), boolean_of):
            total = ImageTotal.of(await image_pages.count(connection, asked.wanted))
    more, page = len(found) > limit, found[:limit]
    if are_tiles:
        page.sort(key=lambda one: (given.ids or ()).index(one.image.image_id))
    return json_response(
        FoundPage(
            images=tuple(_shown(call, one, asked) for one in page),
            next=_cursor(asked.order, page[-1].place) if more else None,
            order=asked.order,
            matched=matched_labels(asked.matched),
            total=total,
        )
    )


def matched_labels(matched: Sequence[Matched]) -> tuple[ShownMatch, ...]:
    """Return labels as clients see them."""
    return tuple(ShownMatch.of(one, tag=one.label.name) for one in matched)


def shown_terms(
    named: Sequence[NamedLabel], found: image_pages.PagedImage
) -> tuple[ShownTerm, ...]:
    """Return what the score of an image is the sum of."""
    return tuple(ShownTerm.of_term(term) for term in terms_of(named, found.scores or {}))


def _shown(call: Call, found: image_pages.PagedImage, asked: AskedFilter) -> FoundImage:
    score = found.score
    return shown(
        call,
        found.image,
        FoundImage,
        score=None if score is None else score_to_float(score),
        terms=None if asked.meaning is None else shown_terms(asked.named, found),
    )


def _cursor(order: Order, place: PagePlace) -> str:
    if isinstance(place, Match):
        text = f"{order} {place.score} {place.ts} {place.number}"
    else:
        text = f"{order} {place.at.isoformat()} {place.image_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(call: Call, order: Order) -> PagePlace | None:
    text = call.request.query_params.get(CURSOR.name)
    if text is None:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return _read_place(raw.decode("ascii").split(" "), order)
    except (binascii.Error, ValueError, OverflowError) as error:
        raise wrong(
            CURSOR.name,
            f"{text[:100]!r}: not the cursor of a page of this search in the order {order}",
        ) from error


def _read_place(fields: list[str], order: Order) -> PagePlace:
    if fields[0] != order:
        raise ValueError("of another order")
    if order is Order.SCORE:
        score, ts, number = map(int, fields[1:])
        if not all(abs(value) <= _NUMBER_MOST for value in (score, ts, number)):
            raise ValueError("no place")
        return Match(score, ts, number)
    at, image_id = fields[1:]
    moment = datetime.fromisoformat(at)
    if moment.tzinfo is None:
        raise ValueError("no place")
    return Moment(moment.astimezone(UTC), UUID(image_id))


OPERATIONS = (
    Operation(
        "GET",
        "/images",
        browse,
        "The archive, page by page",
        "images",
        (Reply(200, "At most `limit` images.", FoundPage),),
        scope=Scope.READ,
        parameters=(
            limit_of(MAX_LIMIT),
            CURSOR,
            *filters.PARAMETERS,
            filters.ORDER,
            Parameter(
                "total", "query", "Whether all are counted, up to 10,000.", (("type", "boolean"),)
            ),
        ),
        problems=("invalid_request",),
    ),
)
