"""Labels as people write them: the body of `PUT /labels` and the file of `migrations labels`."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.names import fold
from schemas.strict import LabelName, OfField, Text, read_whole

MAX_LABELS = 30_000  # of all kinds together: label ids are int2 in PostgreSQL
MAX_ALIASES = 100
MAX_TEMPLATES = 100
MIN_PHOTOS, MAX_PHOTOS = 3, 10  # that teach a label: docs/decisions/0040, with figures
MAX_TAUGHT = 1_000  # labels: each costs 35 ms of a CPU whenever the labels change, or are previewed

# The pattern is for readers of the document: the check below says in words what is wrong.
_Prompt = Annotated[
    Text, Field(min_length=1, max_length=500, json_schema_extra={"pattern": r"\{\}"})
]


class LabelText(BaseModel):
    """One label: its name, and the prompts by which the model is asked for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: LabelName = Field(description="The tag as it is stored and shown.")
    aliases: tuple[LabelName, ...] = Field(
        (), max_length=MAX_ALIASES, description="Further words for it in queries, in any language."
    )
    templates: tuple[_Prompt, ...] = Field(
        (),
        max_length=MAX_TEMPLATES,
        description="Prompts, `{}` stands for the name; none: the default ones.",
    )
    threshold: float | None = Field(
        None, ge=-1, le=1, description="Least cosine where scoring is `threshold`."
    )

    photos: tuple[UUID, ...] = Field(
        (),
        max_length=MAX_PHOTOS,
        description="Ids of 3 to 10 images that teach it, beside the prompts.",
        json_schema_extra={"uniqueItems": True},
    )
    by_words: bool = Field(
        True, description="false: its photos alone say what it is, and its prompts do not count."
    )

    @model_validator(mode="after")
    def _no_word_twice(self) -> "LabelText":
        _all_different([self.name, *self.aliases], "name or alias", "aliases")
        _all_different(self.templates, "template", "templates")
        for template in self.templates:
            if "{}" not in template:
                raise OfField("templates", f"template {template[:100]!r} has no {{}} for the name")
        _all_different([str(photo) for photo in self.photos], "photo", "photos")
        return self


class LabelSetText(BaseModel):
    """The default labels, in order."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "labels": [
                        {"name": "cat", "aliases": ["кошка", "кот"]},
                        {"name": "harbour", "templates": ["a photo of a {} with boats"]},
                        {"name": "our dacha", "aliases": ["наша дача"]},
                    ]
                }
            ]
        },
    )

    labels: tuple[LabelText, ...] = Field(min_length=1, max_length=MAX_LABELS)
    version: int | None = Field(
        None, ge=0, description="The version that these are to replace; another one: 409."
    )

    _read_version = field_validator("version", mode="before")(read_whole)

    @model_validator(mode="after")
    def _no_label_twice(self) -> "LabelSetText":
        _all_different([label.name for label in self.labels], "label", "labels")
        if (taught := sum(bool(label.photos) for label in self.labels)) > MAX_TAUGHT:
            raise OfField("labels", f"{taught} labels taught by photos: at most {MAX_TAUGHT}")
        return self


def _all_different(words: Sequence[str], what: str, field: str) -> None:
    seen: set[str] = set()
    for word in words:
        if (folded := fold(word)) in seen:
            raise OfField(field, f"{what} {word[:100]!r} stands twice")
        seen.add(folded)
