"""Filters as clients write them, in an address or as JSON; filters that are kept under a name."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from core.storage.finding.orders import Order
from ingress.http.parameters import moment_of
from ingress.models.roots import Input, Output, Tag, Words, examples
from ingress.models.statistics import ShownCamera
from schemas.query import MAX_TEXT_CHARS, MinScore

MAX_TAGS = 20
MAX_PATH_CHARS = 4096
MAX_IDS = 5_000  # 39 bytes each in JSON, of which 256 KiB are read
MAX_KEPT_IDS = 100  # of a filter under a name: as an address takes; all are listed in one answer
MAX_NAME_CHARS = 100


def _moment(given: Any) -> Any:
    return moment_of(given) if isinstance(given, str) else given


def _without_default(schema: dict[str, Any]) -> None:
    """Take away a default that the field itself would refuse: it stands for "not given"."""
    schema.pop("default", None)


def _folder(given: str) -> str:
    return given.rstrip("/")


Moment = Annotated[datetime, BeforeValidator(_moment)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=MAX_TAGS)]
Folder = Annotated[Words, Field(max_length=MAX_PATH_CHARS, pattern="[^/]"), AfterValidator(_folder)]
Status = Literal["accepted", "tagged", "failed", "missing"]


class ImageFilterText(Input):
    """Which images: the parameters of `GET /images`; all that are given must hold."""

    model_config = examples(
        {"all": ["dog"], "from": "2024-05-01", "min_score": 0.6}, {"text": "a cat", "not": ["dog"]}
    )

    text: Annotated[Words, Field(max_length=MAX_TEXT_CHARS)] | None = Field(
        None, description="With a tag that the text names."
    )
    tag: Tag | None = Field(None, description="With this tag: as one more of `all`.")
    all: Tags = Field((), description="With each of these tags.")
    any: Tags = Field(
        (),
        min_length=1,
        description="With at least one of these tags: there must be one.",
        json_schema_extra=_without_default,
    )
    without: Tags = Field((), alias="not", description="With none of these tags.")
    min_score: MinScore | None = Field(
        None,
        description="Least sum of the confidences of what the text names; without a text, least"
        " confidence of the tags asked for, without those of the best tag: then at most 1.",
    )
    since: Moment | None = Field(
        None, alias="from", description="Taken then or later; without a zone it is UTC."
    )
    until: Moment | None = Field(None, alias="to", description="Taken before.")
    folder: Folder | None = Field(None, description="With a path in this folder or below it.")
    camera: Annotated[Words, Field(min_length=1, max_length=200)] | None = None
    status: Status | None = None
    reason: Annotated[Words, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Failed, and for this reason."
    )
    excluded: bool | None = Field(
        None,
        description="Whether people excluded it. Texts and tags find what is tagged and not"
        " excluded; with `true` what is excluded.",
    )
    hand_tagged: bool | None = Field(None, description="Whether people set or added tags.")
    has_tags: bool | None = None
    job: UUID | None = Field(None, description="Announced by this job.")
    ids: Annotated[tuple[UUID, ...], Field(max_length=MAX_IDS)] | None = Field(
        None, description="One of these images."
    )
    order: Order | None = Field(
        None, description="How they are shown; of no meaning where they are changed."
    )

    @field_validator("min_score")
    @classmethod
    def _of_a_tag(cls, given: float | None, info: ValidationInfo) -> float | None:
        """Refuse a sum where none is made; a text stands before it in the model."""
        if given is not None and given > 1 and info.data.get("text", "") is None:
            raise ValueError("without a text it is one tag's confidence, at most 1")
        return given

    def without_order(self) -> "ImageFilterText":
        """Return the same images in the usual order."""
        return self.model_copy(update={"order": None})


FilterName = Annotated[
    Words, Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=r"^[^/]*\S[^/]*$")
]


class SavingFilter(Input):
    """`PUT /filters/{name}`."""

    model_config = examples({"filter": {"all": ["dog"], "folder": "photos/2024"}})

    filter: ImageFilterText

    @field_validator("filter")
    @classmethod
    def _bounded(cls, given: ImageFilterText) -> ImageFilterText:
        if len(given.ids or ()) > MAX_KEPT_IDS:
            raise ValueError(f"a filter under a name takes at most {MAX_KEPT_IDS} ids")
        return given


class SavedFilter(Output):
    """A filter that was kept, as it was sent."""

    name: str
    filter: dict[str, Any]
    updated_at: datetime


class SavedFilters(Output):
    """The filters of the key's owner, by name."""

    filters: tuple[SavedFilter, ...]


class ShownFolder(Output):
    """A folder, and how many images are in it and below it."""

    folder: str
    images: int
    is_exact: bool = Field(description="False: there are more; they are counted up to 1,000.")


class ShownFolders(Output):
    """The folders right under one, by name: those with images that the key may see."""

    folders: tuple[ShownFolder, ...] = Field(description="At most 200.")


class ShownCameras(Output):
    """The cameras of the images that the key may see, the commonest first."""

    cameras: tuple[ShownCamera, ...] = Field(description="At most 1,000.")
