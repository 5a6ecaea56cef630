"""Images that are alike, as clients see them."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from ingress.models.roots import Input, Output, examples


class AlikeImage(Output):
    """An image that is like the one asked for."""

    image_id: UUID
    image_path: str
    level: Literal["identical", "same_photo", "burst"] = Field(
        description="The same bytes; perceptual hashes at most 6 bits apart and cosine from 0.90, "
        "or cosine from 0.97 where a hash says nothing; cosine from 0.90 and within 60 s. Pages of"
        " text with different lines are identical or not alike."
    )
    cosine: float
    hash_distance: int | None = Field(
        description="Bits of 63 by which the perceptual hashes differ; null: one of the images was "
        "tagged before there were hashes, or is too flat to be judged by one."
    )


class SimilarImages(Output):
    """Images similar to a given one, the most similar first."""

    images: tuple[AlikeImage, ...]
    is_complete: bool = Field(
        description="False: the archive is too large to compare all of it, or more images are near"
        " this one than were looked at."
    )


class ComparedImage(Output):
    """An image beside its likes."""

    image_id: UUID
    image_path: str
    width: int
    height: int
    size_bytes: int | None
    camera: str | None
    exif_datetime: str | None = Field(description="2024:05:15 14:30:22.")
    sha256: str
    excluded: bool
    links: dict[str, str]


class KeepSuggestion(Output):
    """Which image to keep, and why."""

    keep: UUID
    why: tuple[Literal["not_excluded", "larger", "camera_date", "more_bytes", "older"], ...] = (
        Field(description="In what it is better than all others.")
    )


class ShownDecision(Output):
    """What somebody decided about two images."""

    keep: Literal["both"] | UUID
    by: str
    at: datetime


class DecidablePair(Output):
    """Two images of a group that can be decided about."""

    pair: str = Field(description="Their ids, the smaller first, joined by `~`.")
    decision: ShownDecision | None


class DuplicateGroup(Output):
    """Images with the same bytes, two that are the same photo, or a burst; the oldest first."""

    level: Literal["identical", "same_photo", "burst"]
    pair: str = Field(description="Of the first two; of the first and each other one: `pairs`.")
    pairs: tuple[DecidablePair, ...]
    decision: ShownDecision | None = Field(
        description="The last one, where all pairs are decided; else null."
    )
    sha256: str | None = Field(description="null: their bytes differ.")
    cosine: float | None = Field(
        description="As in `similar`; of a burst the least of two that follow each other; null:"
        " their bytes are the same."
    )
    hash_distance: int | None = Field(description="As in `similar`; null: as `cosine`.")
    texts_differ: bool = Field(
        description="Both are pages of text, with different lines: never the same photo, nor a"
        " burst, however alike they look; only of a pair asked for by its ids."
    )
    seconds_apart: float | None = Field(
        description="Between the first and the last shot; null: not all say when they were taken."
    )
    suggestion: KeepSuggestion | None = Field(
        description="null: no ground speaks for one of them, or nobody has to choose any more."
    )
    images: tuple[ComparedImage, ...]
    image_ids: tuple[UUID, ...]
    image_paths: tuple[str, ...]


class DuplicateTotals(Output):
    """How many groups are undecided, and what removing all but the largest file would free."""

    identical: int
    same_photo: int
    burst: int
    bytes_to_gain: dict[str, int] = Field(description="By level.")
    is_exact: bool = Field(description="False: there may be more.")


class Duplicates(Output):
    """Some groups; a page may hold fewer than asked for, even none, before the last one."""

    groups: tuple[DuplicateGroup, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")
    is_complete: bool = Field(
        description="False: the archive is too large to compare all of it, or more images look like"
        " one of this page than were compared with it."
    )
    totals: DuplicateTotals | None = Field(
        None, description="With `total=true`; counted at most once a minute."
    )
    bytes_to_gain: int | None = Field(None, description="Of this level, with `total=true`.")


class DuplicateChoice(Input):
    """`PUT /duplicates/{pair}`: what stays in answers."""

    model_config = examples({"keep": "both"}, {"keep": "5f0c954b-9a44-5b1c-8d5c-5b1f1f1f1f1f"})

    keep: Literal["both"] | UUID = Field(
        description="`both`, or the one that stays; the other is excluded, not deleted."
    )
