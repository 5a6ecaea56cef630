"""Images that are alike, as clients see them."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from ingress.models.roots import Output


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
    """Images similar to a given one, the most similar first."""

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
