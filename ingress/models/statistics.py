"""The archive in figures, as clients see it."""

from datetime import datetime

from pydantic import Field

from ingress.models.roots import Output


class ShownTagCount(Output):
    """A tag of the archive."""

    tag: str
    images: int
    mean_confidence: float


class ShownTagPair(Output):
    """Two tags that occur together."""

    tags: tuple[str, str]
    images: int


class TagStatistics(Output):
    """All tags, and which occur together."""

    tags: tuple[ShownTagCount, ...]
    pairs: tuple[ShownTagPair, ...]
    pairs_among: int = Field(description="Pairs are counted among so many newest images.")


class ShownFailures(Output):
    """Images that could not be tagged, for one reason."""

    reason: str
    images: int
    last_at: datetime


class ShownCamera(Output):
    """A camera, by EXIF, and how many images it took."""

    camera: str
    images: int


class Statistics(Output):
    """Figures of the archive."""

    since: datetime
    until: datetime
    statuses: dict[str, int]
    days: dict[str, int] = Field(description="Images per day taken, UTC.")
    hours: dict[str, int] = Field(
        description="Taggings per hour, UTC, of the last 48; an image tagged again counts again."
    )
    failures: tuple[ShownFailures, ...]
    cameras: tuple[ShownCamera, ...] = Field(
        description="Of the whole archive: the 100 commonest, the commonest first."
    )
