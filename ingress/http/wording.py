"""What a validator found, in plain words: the sentences of `invalid_request`.

pydantic speaks of its own types ("Tuple should have at least 1 item after validation, not 0 (got
())") and of Python's values; clients know JSON.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ingress.http.problems import FieldError
from schemas.strict import OfField

MAX_SHOWN_CHARS = 100
#: What JSON calls the kinds of values.
_KINDS = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "has too many digits",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "none_required": "must be null",
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "timezone_aware": "has no zone: `Z` stands for UTC",
}
_FAMILIES = {
    "uuid": "must be an id such as 123e4567-e89b-12d3-a456-426614174000",
    "datetime": "must be a date and time such as 2024-05-01T12:00:00Z",
}
_PATTERNS = {
    r"\S": "must not be blank",
    "[^/]": "must name a folder",
    r"^[^/]*\S[^/]*$": "must not be blank, and takes no slash",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "greater_than": ("gt", "more than"),
    "less_than": ("lt", "less than"),
}
#: Their sentences name the value already, or there is none.
_WITHOUT_VALUE = frozenset({"missing", "extra_forbidden"})


def field_errors(error: ValidationError, body: Any, *, shows_input: bool) -> list[FieldError]:
    """Return what is wrong, field by field, as pointers into the body.

    Args:
        error: of the validation.
        body: what was validated, as JSON has it; parts of a place that are not in it are names
            that pydantic gives to the branches of a union.
        shows_input: whether values are shown; they may be secrets.
    """
    found: dict[str, tuple[str, str]] = {}
    for one in error.errors(include_url=False):
        if _is_short_by_errors(one):
            continue
        pointer = _pointer(_place(one, body))
        # `null` is left out of what is documented wherever another branch was refused too.
        if pointer not in found or found[pointer][0] == "none_required":
            found[pointer] = (one["type"], said(one, shows_input=shows_input))
    return [FieldError(pointer, sentence) for pointer, (_, sentence) in found.items()]


def said(error: ErrorDetails, *, shows_input: bool = True) -> str:
    """Return one finding as a sentence without its subject, with the value where it may be shown.

    Args:
        error: of pydantic, with context and input.
        shows_input: whether the value may be shown.
    """
    kind, given = error["type"], error.get("input")
    context: Mapping[str, Any] = error.get("ctx") or {}
    if kind in _LENGTHS:
        return _LENGTHS[kind](context, given, kind)
    if isinstance(cause := context.get("error"), OfField):
        return str(cause)
    sentence = _sentence(kind, context) or error["msg"].removeprefix("Value error, ")
    return (
        sentence
        if kind in _WITHOUT_VALUE or not shows_input
        else f"{sentence} (got {shown(given)})"
    )


def shown(value: Any) -> str:
    """Return a value as JSON writes it, cut after a hundred characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"


def _sentence(kind: str, context: Mapping[str, Any]) -> str | None:
    if kind in _KINDS:
        return _KINDS[kind]
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"must be {words} {context[name]:.15g}"
    if kind in {"literal_error", "enum"}:
        return f"must be {str(context['expected']).replace(chr(39), chr(34))}"
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        return _PATTERNS.get(pattern, f"must match {pattern}")
    return _FAMILIES.get(kind.partition("_")[0])


def _length(context: Mapping[str, Any], given: Any, kind: str) -> str:
    """Return how long a value is and may be; the value itself says nothing more."""
    is_most = kind.endswith("too_long")
    bound = context["max_length" if is_most else "min_length"]
    things = "characters" if isinstance(given, str) else "items"
    if not is_most and bound == 1:
        return "must not be empty"
    size = f"{len(given)} {things}; " if isinstance(given, str | Sequence | Mapping) else ""
    return f"{size}{'the limit is' if is_most else 'the least is'} {bound}"


_LENGTHS: Mapping[str, Callable[[Mapping[str, Any], Any, str], str]] = dict.fromkeys(
    ("too_long", "too_short", "string_too_long", "string_too_short"), _length
)


def _is_short_by_errors(error: ErrorDetails) -> bool:
    """Tell whether a list is called too short only since its items were refused one by one."""
    given = error["input"]
    is_list = error["type"] == "too_short" and isinstance(given, list | tuple)
    return is_list and len(given) >= error["ctx"]["min_length"]


def _place(error: ErrorDetails, body: Any) -> list[int | str]:
    """Return the parts of an error's place that are in the body, and the field that it names."""
    found: list[int | str] = []
    for part in error["loc"]:
        is_there = (
            isinstance(body, dict) and part in body
            if isinstance(part, str)
            else isinstance(body, list | tuple) and part < len(body)
        )
        if is_there:
            body = body[part]
            found.append(part)
    if error["type"] == "missing":
        found.append(error["loc"][-1])
    cause = (error.get("ctx") or {}).get("error")
    if isinstance(cause, OfField):
        found.append(cause.field)
    return found


def _pointer(place: Sequence[int | str]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in place)
