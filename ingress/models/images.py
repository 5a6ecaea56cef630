"""Images as clients send, change and see them."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field, model_validator

from ingress.models.problems import FileError
from ingress.models.roots import Input, Output, Tag, examples
from schemas.names import distinct
from schemas.strict import OfField

MAX_HAND_TAGS = 100


class HandTag(Input):
    """A tag that a person gives an image."""

    tag: Tag
    score: float = Field(1.0, ge=0, le=1, allow_inf_nan=False, description="Its confidence.")


class ImagePatch(Input):
    """`PATCH /images/{image_id}`: fields that are absent change nothing."""

    model_config = examples(
        {"tags": [{"tag": "cat"}, {"tag": "beach", "score": 0.5}]},
        {"excluded": True},
        {"tags": None, "excluded": False},
    )

    tags: tuple[HandTag, ...] | None = Field(
        None,
        max_length=MAX_HAND_TAGS,
        description="Shown in place of the model's tags; null gives the image back to the model,"
        " with the tags that people took away, and without those that they added.",
    )
    excluded: bool | None = Field(None, description="Whether it may never be an answer.")

    @model_validator(mode="after")
    def _no_tag_twice(self) -> "ImagePatch":
        names = [tag.tag for tag in self.tags or ()]
        if len(distinct(names)) < len(names):
            raise OfField("tags", "a tag stands twice")
        return self


class UploadedImage(Output):
    """One file of an upload."""

    filename: str = Field(description="As it was sent, after decoding; empty where none was.")
    image_path: str | None = Field(
        None,
        description="The name under which it is kept, without folders and unprintable characters,"
        " at most 255 characters; of several owners the first one's; `sha256:…` where there is no"
        " name. Null: it was rejected.",
    )
    image_id: UUID | None = None
    status: Literal["accepted", "rejected"]
    duplicate: bool = Field(False, description="It was here before; it is tagged again.")
    token: str | None = Field(None, description="For the option `after` of a query.")
    links: dict[str, str] = Field({})
    error: FileError | None = None


class Upload(Output):
    """The result of an upload: one entry per file, in the order of the request."""

    images: tuple[UploadedImage, ...]


class ShownTag(Output):
    """A tag with its confidence in 0..1."""

    tag: str
    score: float


class ShownImage(Output):
    """An image with all its details."""

    image_id: UUID
    status: Literal["accepted", "tagged", "failed", "missing"]
    waits_for: Literal["slow_picture", "large_picture", "slow_source"] | None = Field(
        None,
        description="What was sent last is to be tagged apart from others, which may take minutes:"
        " decoding takes long, or much memory, or whoever has the bytes sends them slowly.",
    )
    image_path: str
    uri: str
    tags: tuple[ShownTag, ...] | None
    hand_tags: tuple[ShownTag, ...] | None = Field(
        None, description="Set by `PATCH`: these are shown as `tags` once it is tagged."
    )
    rejected_tags: tuple[str, ...] = Field(
        (), description="Tags of the model that people took away: they stay away."
    )
    added_tags: tuple[str, ...] = Field(
        (), description="Tags that people added beside the model's."
    )
    excluded: bool = Field(False, description="Set by `PATCH`: it is never an answer.")
    exif_datetime: str | None = Field(None, description="Time of the shot: 2024:05:15 14:30:22.")
    exif_source: str | None = Field(
        None,
        description="Where the time comes from: DateTimeOriginal, DateTimeDigitized, ModifyDate, "
        "XMP, IPTC or GPS (then UTC), the first of them that the file has.",
    )
    truncated: bool | None = Field(
        None, description="The file ends before the picture does; the tags are of what is there."
    )
    camera: str | None = Field(None, description="Maker and model, by EXIF.")
    media_type: str | None = None
    size_bytes: int | None = None
    width: int | None = None
    height: int | None = None
    colour: str | None = Field(None, description="Mean of the picture in sRGB: #a1b2c3.")
    sha256: str | None = None
    model: str | None = None
    error: FileError | None = None
    arrived_at: datetime
    updated_at: datetime
    tagged_at: datetime | None = None
    links: dict[str, str]


class CuratedImage(Output):
    """An image with what people decided about it."""

    image: ShownImage
    excluded: bool = Field(description="It is never an answer.")
    is_tagged_by_hand: bool


class DeletedImage(Output):
    """An image that was deleted, or an ownership that ended."""

    image_id: UUID
    deleted_at: datetime
    remains: bool = Field(
        description="It is still there: others own it too, or every key that may read sees it."
    )


class ImagePage(Output):
    """Some images of the archive."""

    images: tuple[ShownImage, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")
