"""What HTTP clients get. The same models answer and document."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from ingress.http.problems import TYPE_PREFIX


class Output(BaseModel):
    """Root of what clients get."""

    model_config = ConfigDict(frozen=True)


class ProblemField(Output):
    """One field that breaks a rule."""

    pointer: str = Field(description="JSON pointer into the body, or a parameter's name.")
    detail: str


class ProblemDocument(Output):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": f"{TYPE_PREFIX}image_too_large",
                    "title": "The image has too many bytes",
                    "status": 413,
                    "code": "image_too_large",
                    "detail": "31457280 bytes; the limit is 26214400 bytes per image",
                    "instance": "/images/upload",
                    "request_id": "0f2b6a0f8f0d4a63b7f4c8a5e7d21c55",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    request_id: str
    errors: tuple[ProblemField, ...] | None = None


class FileError(Output):
    """Why one file of an upload was not taken."""

    code: str
    title: str
    detail: str


class UploadedImage(Output):
    """One file of an upload."""

    filename: str
    image_id: UUID | None = None
    status: Literal["accepted", "rejected"]
    duplicate: bool = Field(False, description="It was here before; it is tagged again.")
    token: str | None = Field(None, description="For the option `after` of a query.")
    links: dict[str, str] = {}
    error: FileError | None = None


class Upload(Output):
    """One entry per file, in the order of the request."""

    images: tuple[UploadedImage, ...]


class AcceptedQuery(Output):
    """A query that will be answered by a webhook."""

    query_id: UUID
    status: Literal["accepted"] = "accepted"
    links: dict[str, str]


class TaggedFile(Output):
    """The tags of one file, best first, as `[name, confidence]`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "image_path": "photos/2024/parade.jpg",
                    "tags": [["landscape", 0.8945], ["city", 0.0521]],
                    "exif_datetime": "2024:05:15 14:30:22",
                    "error": None,
                }
            ]
        }
    )

    image_path: str
    tags: tuple[tuple[str, float], ...]
    exif_datetime: str | None = Field(None, description="As EXIF writes it: 2024:05:15 14:30:22.")
    error: str | None = None


class PendingFile(Output):
    """A file that is not tagged yet."""

    image_path: str
    image_id: UUID
    status: Literal["accepted"] = "accepted"
    links: dict[str, str]


class AcceptedJob(Output):
    """A directory whose photos will be tagged."""

    message: str
    directory: str
    files_count: int | None = Field(description="None where counting takes too long.")
    job_id: UUID
    links: dict[str, str]


class ShownTag(Output):
    """A tag with its confidence in 0..1."""

    tag: str
    score: float


class ShownImage(Output):
    """All that is known of an image."""

    image_id: UUID
    status: Literal["accepted", "tagged", "failed", "missing"]
    image_path: str
    uri: str
    tags: tuple[ShownTag, ...] | None
    hand_tags: tuple[ShownTag, ...] | None = Field(
        None, description="Set by `PATCH`: these are shown as `tags` once it is tagged."
    )
    excluded: bool = Field(False, description="Set by `PATCH`: it is never an answer.")
    exif_datetime: str | None = None
    camera: str | None = Field(None, description="Maker and model, by EXIF.")
    media_type: str | None = None
    size_bytes: int | None = None
    width: int | None = None
    height: int | None = None
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


class AlikeImage(Output):
    """An image that is like the one asked for."""

    image_id: UUID
    image_path: str
    level: Literal["identical", "same_photo", "burst"] = Field(
        description="The same bytes; perceptual hashes at most 6 bits apart and cosine from 0.90, "
        "or cosine from 0.97 where a hash says nothing; cosine from 0.90 and within 60 s."
    )
    cosine: float
    hash_distance: int | None = Field(
        description="Bits of 63 by which the perceptual hashes differ; null: one of the images was "
        "tagged before there were hashes, or is too flat to be judged by one."
    )


class SimilarImages(Output):
    """What is like an image, the most alike first."""

    images: tuple[AlikeImage, ...]
    is_complete: bool = Field(description="False: the archive is too large to compare all of it.")


class DuplicateGroup(Output):
    """Images with the same bytes, or two that are the same photo; the oldest first."""

    level: Literal["identical", "same_photo"]
    sha256: str | None = Field(description="null: their bytes differ.")
    cosine: float | None = Field(description="As in `similar`; null: their bytes are the same.")
    hash_distance: int | None = Field(description="As in `similar`; null: as `cosine`.")
    image_ids: tuple[UUID, ...]
    image_paths: tuple[str, ...]


class Duplicates(Output):
    """Some groups; pages of the level `same_photo` may hold fewer than asked for, even none."""

    groups: tuple[DuplicateGroup, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")
    is_complete: bool = Field(
        description="False: the archive is too large to compare all of it, or more images look like"
        " one of this page than were compared with it."
    )


class ShownLabel(Output):
    """A label; no templates: the default ones."""

    name: str
    aliases: tuple[str, ...]
    templates: tuple[str, ...]
    threshold: float | None


class ShownRescoring(Output):
    """How far the archive has come with the labels in force."""

    is_done: bool
    total: int = Field(description="Images that had tags of older labels when it began.")
    rescored: int = Field(description="Of these, so many have new ones.")
    older: int = Field(
        description="Images that still answer with tags of older labels, up to 100,000. Those of"
        " another model stay among them until `producers retag`."
    )


class ShownLabels(Output):
    """The default labels."""

    version: int
    changed_at: datetime
    labels: tuple[ShownLabel, ...]
    rescoring: ShownRescoring


class ImagePage(Output):
    """Some images of the archive."""

    images: tuple[ShownImage, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")


class ShownAttempt(Output):
    """One try to deliver a webhook."""

    attempt: int
    started_at: datetime
    took_ms: int | None = None
    status: int | None = Field(None, description="HTTP status of the target, if it answered.")
    error: str | None = None
    detail: str | None = None


class ShownDelivery(Output):
    """A webhook and its tries."""

    delivery_id: UUID = Field(description="The `webhook-id` on the wire.")
    url: str
    state: Literal["due", "leased", "delivered", "dead"]
    attempt: int
    next_at: datetime | None = None
    reason: str | None = None
    finished_at: datetime | None = None
    attempts: tuple[ShownAttempt, ...] = ()


class ShownQuery(Output):
    """All that is known of a query."""

    query_id: UUID
    status: Literal["accepted", "waiting", "answered"]
    text: str
    callback_url: str
    options: dict[str, Any]
    answer: dict[str, Any] | None
    accepted_at: datetime
    answered_at: datetime | None
    deliveries: tuple[ShownDelivery, ...]
    links: dict[str, str]


class ListedJob(Output):
    """A directory job, but for its images."""

    job_id: UUID
    directory: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    total: int | None
    announced: int
    skipped: int
    skips: dict[str, int] = Field(description="What was passed over, by reason.")
    error: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    links: dict[str, str]


class ShownJob(ListedJob):
    """How far a job is."""

    images: dict[str, int] = Field(description="How many of its images are in each status.")


class JobPage(Output):
    """Some jobs."""

    jobs: tuple[ListedJob, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")
