"""The roots of all models: what clients send, and what they get."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from schemas.strict import LabelName, Text

Words = Text
Tag = LabelName


class Input(BaseModel):
    """Base of all requests. An unknown field is an error: it may be a misspelled option."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Output(BaseModel):
    """Base of all responses. The same models answer and document."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    @classmethod
    def of(cls, row: object, **more: Any) -> Self:
        """Return the model of a row.

        Args:
            row: its attributes fill the fields of the same name.
            more: fields that the row does not have, or has in another form.
        """
        same = {name: getattr(row, name) for name in cls.model_fields if hasattr(row, name)}
        return cls.model_validate({**same, **more})


def examples(*values: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a model whose documentation shows these examples."""
    return ConfigDict(json_schema_extra={"examples": list(values)})
