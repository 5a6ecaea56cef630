"""`/timeline`: images by month, and the columns that a page lays a month out by."""

import hashlib
import re
import struct
from datetime import UTC, datetime
from http import HTTPStatus

from starlette.responses import Response

from core.storage.finding import timeline
from core.storage.finding.timeline import MonthPart
from ingress.auth.api_keys import Scope
from ingress.http.parameters import wrong
from ingress.models.page.timeline import ShownMonth, Timeline
from ingress.operations import Call, Operation, Parameter, Reply
from ingress.reading import filters

MAGIC = b"PAT1"
HEAD = struct.Struct("<4sIII")
#: Beyond it no archive goes, and PostgreSQL would skip for long.
MOST_PARTS = 1000
#: Of years that have four digits by themselves: as a pattern of JSON Schema too.
MONTH = "([1-9][0-9]{3})-(0[1-9]|1[0-2])"
_MONTH = re.compile(MONTH)
_NAMES = filters.NAMES - {"order", "id"}


async def show_months(call: Call) -> Response:
    """Return how many images there are of each month."""
    asked = await filters.understand(call, filters.read_filter(call))
    async with call.deps.pool.connection() as connection:
        found = await timeline.months(connection, asked.wanted)
    body = Timeline(
        total=sum(month.images for month in found),
        is_exact=True,
        months=tuple(ShownMonth.of(month) for month in found),
    )
    return _answer(call, body.model_dump_json().encode(), "application/json")


async def show_month(call: Call) -> Response:
    """Return a part of a month's images in columns."""
    first = _first(call.request.path_params["month"])
    part = call.whole("part", 0, least=0, most=MOST_PARTS - 1)
    asked = await filters.understand(call, filters.read_filter(call))
    async with call.deps.pool.connection() as connection:
        found = await timeline.month(connection, asked.wanted, first, part)
    return _answer(call, encoded(found, part), "application/octet-stream")


def encoded(found: MonthPart, part: int) -> bytes:
    """Return the head and the columns, one after the other."""
    head = HEAD.pack(MAGIC, found.images, part, found.parts)
    return b"".join((head, found.ids, found.ratios, found.colours, found.statuses))


def _answer(call: Call, body: bytes, media_type: str) -> Response:
    """Return the body, or that the client has it: it asks each time."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag in call.request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    call.hold(call.memory(len(body)))
    return Response(body, media_type=media_type, headers=headers)


def _first(text: str) -> datetime:
    found = _MONTH.fullmatch(text)
    if found is None:
        raise wrong("month", f"{text[:20]!r} is no month as 2024-05")
    return datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC)


_FILTER = tuple(one for one in filters.PARAMETERS if one.name in _NAMES)
_KNOWN = Reply(304, "The client has it already (`If-None-Match`).")
_ETAG = (("ETag", "Of this answer."),)
OPERATIONS = (
    Operation(
        "GET",
        "/timeline",
        show_months,
        "Images by month",
        "images",
        (Reply(200, "How many there are of each month.", Timeline, headers=_ETAG), _KNOWN),
        scope=Scope.READ,
        parameters=_FILTER,
        problems=("invalid_request",),
    ),
    Operation(
        "GET",
        "/timeline/{month}",
        show_month,
        "The images of a month, in columns",
        "images",
        (
            Reply(
                200,
                "`PAT1`; number of images n, part, parts (unsigned 32 bits, little endian); then"
                " n ids of 16 bytes; n times width by height in thousandths (unsigned 16 bits,"
                " little endian; 0: unknown); n mean colours of 3 bytes; n statuses of a byte:"
                " 0 accepted, 1 tagged, 2 failed, 3 missing, and 16 where it is excluded, 32 where"
                " people set its tags, 64 where it waits to be tagged apart. The last taken first.",
                media_type="application/octet-stream",
                headers=_ETAG,
            ),
            _KNOWN,
        ),
        scope=Scope.READ,
        parameters=(
            Parameter(
                "month", "path", "`2024-05`.", (("type", "string"), ("pattern", f"^{MONTH}$"))
            ),
            Parameter(
                "part",
                "query",
                f"Which part, of at most {timeline.PART_IMAGES:,} images.",
                (("type", "integer"), ("minimum", 0), ("maximum", MOST_PARTS - 1)),
            ),
            *_FILTER,
        ),
        problems=("invalid_request",),
    ),
)
