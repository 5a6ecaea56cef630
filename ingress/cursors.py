"""Where a page ended: time and id of its last row, as text for the client to hand back."""

import base64
import binascii
from datetime import UTC, datetime
from uuid import UUID

from ingress.operations import Call, Parameter
from ingress.problems import Extra, FieldError, Problem

CURSOR = Parameter(
    "cursor",
    "query",
    "`next` of the page before.",
    (("type", "string"), ("pattern", "^[A-Za-z0-9_-]+$")),
)


def limit_of(most: int) -> Parameter:
    """How many rows a page has."""
    return Parameter(
        "limit", "query", "How many.", (("type", "integer"), ("minimum", 1), ("maximum", most))
    )


def cursor_of(at: datetime, row_id: UUID) -> str:
    """Give the cursor of the page that begins behind this row."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def page_before(call: Call) -> tuple[datetime, UUID] | None:
    """Give where the page before ended; None for the first page.

    Raises:
        Problem: `invalid_request`: the parameter `cursor` is none.
    """
    text = call.request.query_params.get(CURSOR.name)
    if text is None:
        return None
    try:
        return read_cursor(text)
    except ValueError as error:
        detail = f"{CURSOR.name}: {text[:100]!r}: {error}"
        field = FieldError(CURSOR.name, detail)
        raise Problem("invalid_request", detail, Extra(errors=(field,))) from error


def read_cursor(text: str) -> tuple[datetime, UUID]:
    """Give what `cursor_of` was given.

    Raises:
        ValueError: it is none.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        at, row_id = raw.decode("ascii").split(" ")
        moment, number = datetime.fromisoformat(at), UUID(row_id)
        place = moment.astimezone(UTC), number
    except (binascii.Error, ValueError, OverflowError) as error:
        raise ValueError("not the cursor of a page") from error
    if moment.tzinfo is None:
        raise ValueError("not the cursor of a page")
    return place
