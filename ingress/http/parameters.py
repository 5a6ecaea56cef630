"""Parameters in the address of a request: what breaks a rule is named."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from ingress.http.problems import Extra, FieldError, Problem
from ingress.operations import Call

T = TypeVar("T")


def wrong(name: str, why: str) -> Problem:
    """Return the problem that names a parameter."""
    detail = f"{name}: {why}"
    return Problem("invalid_request", detail, Extra(errors=(FieldError(name, detail),)))


def text_of(call: Call, name: str, *, most: int, least: int = 1) -> str | None:
    """Return a parameter that is a text; None: it is absent.

    Raises:
        Problem: it is too long or too short, or has a NUL character, which no text here has.
    """
    text = call.request.query_params.get(name)
    if text is None:
        return None
    if not least <= len(text) <= most:
        raise wrong(name, f"{len(text)} characters; it takes {least} to {most}")
    if "\0" in text:
        raise wrong(name, f"{text[:100]!r} contains a NUL character")
    return text


def read(name: str, text: str, reader: Callable[[str], T]) -> T:
    """Return what a parameter says.

    Raises:
        Problem: the reader refuses it (ValueError).
    """
    try:
        return reader(text)
    except ValueError as error:
        raise wrong(name, f"{text[:100]!r}: {error}") from error


def read_moment(call: Call, name: str) -> datetime | None:
    """Return a parameter with a date or a time; without a zone it is UTC.

    Raises:
        Problem: it is neither.
    """
    text = call.request.query_params.get(name)
    return None if text is None else read(name, text, moment_of)


def moment_of(text: str) -> datetime:
    """Return a date or a time; without a zone it is UTC.

    Raises:
        ValueError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("no ISO 8601 date or time") from error


def boolean_of(text: str) -> bool:
    """Return whether a text is `true`.

    Raises:
        ValueError: it is neither `true` nor `false`.
    """
    if text not in {"true", "false"}:
        raise ValueError("neither true nor false")
    return text == "true"
