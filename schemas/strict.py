"""The base of all event models: frozen; fields that a newer version adds are ignored."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

#: Every identity of the project is a UUIDv5 under this namespace.
NAMESPACE = UUID("6f1b1f2e-3f0c-5d3a-9a57-7d0f6c0a4c11")


class Event(BaseModel):
    """Base of the event models. It ignores unknown fields, so that fields may be added later."""

    model_config = ConfigDict(frozen=True, extra="ignore")


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


#: Text that PostgreSQL can hold: no NUL.
Text = Annotated[str, AfterValidator(_no_nul)]
#: A label's name: 1 to 200 characters, no NUL, not blank.
LabelName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"\S"), AfterValidator(_no_nul)
]
