"""The rules that events and requests share, and the base of all event models.

A value that the HTTP face refuses is refused on a topic too, by the same rule: these are the types
of both. What is decoded may be written to PostgreSQL, compared and sent as JSON.
"""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from schemas.names import fold, tidy

#: Every identity of the project is a UUIDv5 under this namespace.
NAMESPACE = UUID("6f1b1f2e-3f0c-5d3a-9a57-7d0f6c0a4c11")


class OfField(ValueError):
    """What does not go together: the field that is to change, and why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


class Event(BaseModel):
    """Base of the event models. It ignores unknown fields, so that fields may be added later.

    No number is infinite or NaN, which JSON can only spell as `1e999`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("contains a NUL character")
    return value


def encodable(value: str) -> str:
    """Return a text that has a UTF-8 form.

    Raises:
        ValueError: it has half of a surrogate pair, which JSON can spell with an escape.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("contains a lone surrogate, which is not text") from None
    return value


def read_whole(value: Any) -> Any:
    """Return 2 for 2.0, which JSON Schema calls an integer; strict pydantic would refuse it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_calendar(value: datetime) -> datetime:
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the calendar in UTC") from None
    return value


def without_repeats(value: Any) -> Any:
    """Return names, as they are given, of which none stands twice letter by letter.

    Before all else is looked at: names that differ in blanks alone become one afterwards.

    Raises:
        ValueError: one does.
    """
    if not isinstance(value, list | tuple):
        return value
    names = [one for one in value if isinstance(one, str)]
    if len(set(names)) != len(names):
        raise ValueError("must not repeat")
    return tuple(value)  # a list of JSON would be none by the strict rules of Python


#: Text that PostgreSQL and JSON can hold: no NUL, no half of a surrogate pair.
Text = Annotated[str, AfterValidator(_no_nul), AfterValidator(encodable)]


def _tidy_name(value: str) -> str:
    if not (found := tidy(value)) or not fold(value):
        raise ValueError("has nothing to be seen")
    return found


#: A label's name: 1 to 200 characters, not blank; blanks around it do not count.
LabelName = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"\S"),
    AfterValidator(_no_nul),
    AfterValidator(encodable),
    AfterValidator(_tidy_name),
]
#: A W3C trace context; what is none is passed over where it is used.
Trace = Annotated[Text, Field(max_length=200)]
#: A time with its zone, which UTC has too.
Moment = Annotated[AwareDatetime, AfterValidator(_in_calendar)]
