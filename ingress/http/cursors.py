"""Cursors: the key of a page's last row, as text that the client sends for the next page."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from ingress.http.problems import Extra, FieldError, Problem
from ingress.operations import Call, Parameter

CURSOR = Parameter(
    "cursor",
    "query",
    "`next` of the page before.",
    (("type", "string"), ("pattern", "^[A-Za-z0-9_-]+$")),
)
_NONE = "not the cursor of a page: `next` of the answer before is one"
T = TypeVar("T")


def limit_of(most: int) -> Parameter:
    """Return the parameter `limit`, of at most so many rows."""
    return Parameter(
        "limit", "query", "How many.", (("type", "integer"), ("minimum", 1), ("maximum", most))
    )


def cursor_of(at: datetime, row_id: UUID) -> str:
    """Return the cursor of the page that follows this row."""
    return _encoded(f"{at.isoformat()} {row_id}")


def read_cursor(text: str) -> tuple[datetime, UUID]:
    """Return the time and the id in a cursor of `cursor_of`.

    Raises:
        ValueError: it is not such a cursor.
    """
    try:
        at, row_id = _decoded(text).split(" ")
        moment = datetime.fromisoformat(at)
        place = moment.astimezone(UTC), UUID(row_id)
    except (ValueError, OverflowError) as error:
        raise ValueError(_NONE) from error
    if moment.tzinfo is None:
        raise ValueError(_NONE)
    return place


def cursor_of_number(number: int) -> str:
    """Return the cursor of the page that begins behind the row of this number."""
    return _encoded(str(number))


def cursor_of_name(name: str) -> str:
    """Return the cursor of the page that begins behind a name."""
    return _encoded(name)


def page_after_name(call: Call) -> str | None:
    """Return the name behind which a page begins; None for the first page.

    Raises:
        Problem: `invalid_request`: the parameter `cursor` is not such a cursor.
    """
    return _read(call, _read_name)


def page_before(call: Call) -> tuple[datetime, UUID] | None:
    """Return time and id of the last row of the page before; None for the first page.

    Raises:
        Problem: `invalid_request`: the parameter `cursor` is not such a cursor.
    """
    return _read(call, read_cursor)


def page_below(call: Call) -> int | None:
    """Return the number of the last row of the page before; None for the first page.

    Raises:
        Problem: `invalid_request`: the parameter `cursor` is not such a cursor.
    """
    return _read(call, _read_number)


def _read(call: Call, read: Callable[[str], T]) -> T | None:
    text = call.request.query_params.get(CURSOR.name)
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        detail = f"{CURSOR.name}: {text[:100]!r}: {error}"
        field = FieldError(CURSOR.name, detail)
        raise Problem("invalid_request", detail, Extra(errors=(field,))) from error


def _read_number(text: str) -> int:
    number = _decoded(text)
    if not re.fullmatch("[0-9]{1,18}", number):  # int8 has 19 digits
        raise ValueError(_NONE)
    return int(number)


def _read_name(text: str) -> str:
    name = _decoded(text)
    if not text or "\0" in name:
        raise ValueError(_NONE)
    return name


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(text: str) -> str:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return raw.decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise ValueError(_NONE) from error
