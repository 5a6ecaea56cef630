"""What clients get from searches and statistics. The same models answer and document."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ingress.models.responses import ImagePage, Output, ShownImage


class MatchedLabel(Output):
    """A label that a text names, and the words that name it."""

    tag: str
    words: tuple[str, ...]


class FoundImage(ShownImage):
    """An image of a search."""

    score: float | None = Field(
        None, description="Sum of the matched tags' confidences, where tags were looked for."
    )


class FoundPage(ImagePage):
    """Some images of the archive, in the order that `order` says.

    `arrival`: the newest arrival first. `date`: the last taken first. `relevance`: the greatest sum
    of matched confidences first, then the newest. A page may be shorter than `limit` and yet have a
    `next`, where other owners' images were passed over.
    """

    images: tuple[FoundImage, ...]
    order: Literal["arrival", "date", "relevance"] = "arrival"
    matched: tuple[MatchedLabel, ...] = ()


class ShownToken(Output):
    """One word of a text."""

    text: str
    lemmas: tuple[str, ...]
    is_function: bool = Field(description="A label of several words can do without it.")


class Lemmas(Output):
    """How a text is understood."""

    text: str
    tokens: tuple[ShownToken, ...]
    matched: tuple[MatchedLabel, ...]


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
