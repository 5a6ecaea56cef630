"""What HTTP clients may send. Unknown fields are errors: a misspelled option must not be lost.

Never put on a topic as it is: producers make the events.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from schemas.query import MAX_TEXT_CHARS, QueryOptions
from schemas.strict import LabelName, Text, read_whole
from schemas.token import decode_token

MAX_LABELS = 30_000
MAX_EXTENSIONS = 50
MAX_HAND_TAGS = 100


def _encodable(value: str) -> str:
    # JSON can spell half of a surrogate pair ("\\ud800"): no UTF-8, no PostgreSQL takes it.
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("contains a lone surrogate, which is not text") from None
    return value


Words = Annotated[Text, AfterValidator(_encodable)]
Tag = Annotated[LabelName, AfterValidator(_encodable)]


class Input(BaseModel):
    """Root of what clients send."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _examples(*values: dict[str, Any]) -> ConfigDict:
    return ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": list(values)})


class QueryRequest(Input):
    """`POST /images/tags`: a sentence, and where its answer goes."""

    model_config = _examples(
        {
            "text": "We are looking for cats on the beach",
            "callback_url": "https://example.org/hooks/photos",
        },
        {
            "text": "День Победы, ветераны",
            "callback_url": "https://example.org/hooks/photos",
            "top_n": 3,
            "min_score": 0.2,
            "payload": "link",
        },
    )

    text: Words = Field(min_length=1, max_length=MAX_TEXT_CHARS, pattern=r"\S")
    callback_url: Words = Field(
        min_length=1,
        max_length=2000,
        description="Where the signed webhook is sent.",
        json_schema_extra={"format": "uri"},
    )
    top_n: int = Field(1, ge=1, le=50, description="The best image whole, the others as links.")
    min_score: float = Field(0.0, ge=0, le=1e6, allow_inf_nan=False)
    date_from: AwareDatetime | None = Field(None, description="Taken at or after this time.")
    date_to: AwareDatetime | None = Field(None, description="Taken before this time.")
    after: Words | None = Field(
        None, max_length=500, description="`token` of an upload: its tags are seen, or waited for."
    )
    payload: Literal["inline", "link"] = Field(
        "inline", description="The picture as base64, or as a signed link."
    )

    _read_top_n = field_validator("top_n", mode="before")(read_whole)

    @field_validator("after")
    @classmethod
    def _check_after(cls, value: str | None) -> str | None:
        if value is not None:
            decode_token(value)
        return value

    @model_validator(mode="after")
    def _check_dates(self) -> "QueryRequest":
        if self.date_from and self.date_to and self.date_from >= self.date_to:
            raise ValueError("date_from must lie before date_to")
        return self

    def options(self) -> QueryOptions:
        """Return what goes into the event beside text and address."""
        return QueryOptions(
            top_n=self.top_n,
            min_score=self.min_score,
            date_from=self.date_from,
            date_to=self.date_to,
            after=self.after,
            payload=self.payload,
        )


class _Tagging(Input):
    tags: tuple[Tag, ...] | None = Field(
        None,
        min_length=1,
        max_length=MAX_LABELS,
        description="Own labels; else the instance's.",
        json_schema_extra={"uniqueItems": True},
    )
    top_k: int | None = Field(None, ge=1, le=MAX_LABELS, description="How many tags to keep.")

    _read_top_k = field_validator("top_k", mode="before")(read_whole)

    @field_validator("tags")
    @classmethod
    def _check_tags(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError("tags must not repeat")
        return value


class TagImageRequest(_Tagging):
    """`POST /tag/image`: a file under an allowed root."""

    model_config = _examples(
        {"image_path": "photos/2024/parade.jpg"},
        {"image_path": "photos/2024/lunch.jpg", "tags": ["pizza", "salad"], "top_k": 1},
    )

    image_path: Words = Field(
        min_length=1, max_length=4000, description="`<root>/<path>`, or absolute below a root."
    )


class TagDirectoryRequest(_Tagging):
    """`POST /tag/directory`: all photos in a directory under an allowed root."""

    model_config = _examples(
        {"directory_path": "photos/2024", "file_extensions": [".jpg", ".png"], "top_k": 4}
    )

    directory_path: Words = Field(min_length=1, max_length=4000)
    file_extensions: tuple[Annotated[Words, Field(min_length=1, max_length=20)], ...] | None = (
        Field(None, min_length=1, max_length=MAX_EXTENSIONS)
    )


class HandTag(Input):
    """A tag that a person gives an image."""

    tag: Tag
    score: float = Field(1.0, ge=0, le=1, allow_inf_nan=False, description="Its confidence.")


class ImagePatch(Input):
    """`PATCH /images/{image_id}`: fields that are absent change nothing."""

    model_config = _examples(
        {"tags": [{"tag": "cat"}, {"tag": "beach", "score": 0.5}]},
        {"excluded": True},
        {"tags": None, "excluded": False},
    )

    tags: tuple[HandTag, ...] | None = Field(
        None,
        max_length=MAX_HAND_TAGS,
        description="Shown in place of the model's tags; null gives the image back to the model.",
    )
    excluded: bool | None = Field(None, description="Whether it may never be an answer.")

    @model_validator(mode="after")
    def _no_tag_twice(self) -> "ImagePatch":
        names = [tag.tag for tag in self.tags or ()]
        if len(set(names)) < len(names):
            raise ValueError("a tag stands twice")
        return self
