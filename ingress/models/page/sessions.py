"""Signing in to the page."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.json_schema import SkipJsonSchema

from ingress.models.roots import Input, Output
from schemas.strict import OfField

#: Longer than any key or code.
Secret = Annotated[str, StringConstraints(max_length=200)]


class SignIn(Input):
    """What lets in: a key, or the code of a one-time link."""

    key: Secret | SkipJsonSchema[None] = Field(None, repr=False)
    code: Secret | SkipJsonSchema[None] = Field(None, repr=False)
    leave: bool | SkipJsonSchema[None] = Field(
        None,
        description="With a code: end the session that the cookie stands for, also somebody else's."
        " Without, the answer is 409 there.",
    )

    model_config = ConfigDict(
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [{"key": "pa_8XkQ2w0b_…"}, {"code": f"3q2-7w{'A' * 37}"}],
            # Of fields beside a `oneOf` generated clients send none.
            "minProperties": 1,
            "not": {"required": ["key", "code"]},
            "dependentRequired": {"leave": ["code"]},
        },
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.key is None) == (self.code is None):
            raise ValueError("give either `key` or `code`")
        if self.leave is not None and self.code is None:
            raise OfField("leave", "`leave` goes with `code`")
        return self


class ShownInstance(Output):
    """What the page tells of the archive that it shows."""

    version: str
    model: str = Field(description="That runs, else that of the settings; without its weights.")
    is_demo_model: bool = Field(description="Whether it is the bundled model.")
    standalone: bool = Field(description="Whether `photo-archive up` or `demo` runs it.")
    scoring: Literal["softmax", "sigmoid", "threshold"]
    labels: int = Field(description="How many are in force.")
    unknown_labels: tuple[str, ...] = Field(
        description="Of these, those of which the bundled model has seen no picture."
    )
    base_url: str
    max_upload_bytes: int = Field(description="Of one picture.")
    max_upload_pixels: int = Field(description="Of one picture.")
    media_types: tuple[str, ...] = Field(description="Of pictures that are taken.")


class ShownSession(Output):
    """Who is signed in, and to what."""

    owner: str
    key_id: str
    scopes: tuple[str, ...]
    token: str | None = Field(
        description="For the header `X-CSRF-Token`; null where a key was sent, which needs none."
    )
    expires_at: datetime | None = Field(
        description="Later with each use, up to seven days; null: a key that does not end."
    )
    instance: ShownInstance


class ShownLink(Output):
    """A link that signs in once."""

    url: str
    expires_at: datetime
