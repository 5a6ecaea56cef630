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


def refuse_unknown(call: Call, known: frozenset[str]) -> None:
    """Refuse parameters that are not among the known ones.

    Raises:
        Problem: names the first of them and all that are known.
    """
    unknown = set(call.request.query_params) - known
    if unknown:
        raise wrong(min(unknown), f"known are {', '.join(sorted(known))}")


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
