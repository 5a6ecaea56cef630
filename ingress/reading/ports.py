"""What the routes for searching and counting need, named by their user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.language.lemmatizer import LemmatizedWord
from core.relevance.matching import Matched
from core.storage.archive.images import ImageStatus
from core.storage.archive.search import Dated, Match, Visible
from core.storage.archive.statistics import FailureCount, TagCount, TagPair


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which images are looked for; at least one of text, tag and dates is given.

    Attributes:
        text: images with any label that it names, ranked by the sum of their confidences.
        tag: images with this label.
        since: taken then or later (aware); `until`: before.
        after: the last place of the page before.
    """

    visible: Visible
    text: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: Match | Dated | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A page.

    Attributes:
        images: with the sum of matched confidences in millionths, where labels were looked for.
        matched: the labels that the text names.
        next: the place behind which the next page begins; None on the last one.
    """

    images: Sequence[tuple[ImageStatus, int | None]]
    matched: Sequence[Matched] = ()
    next: Match | Dated | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a text says: its words, and the labels that they name."""

    tokens: Sequence[LemmatizedWord]
    matched: Sequence[Matched]


@dataclass(frozen=True, slots=True)
class Counts:
    """Figures of the archive.

    Attributes:
        statuses: images in each status.
        days: images per day taken.
        hours: taggings per hour (UTC); an image tagged again counts again.
        failures: in the failure ledger, by reason.
        cameras: images per camera, of the whole archive; the commonest first.
    """

    statuses: Mapping[str, int]
    days: Mapping[str, int]
    hours: Mapping[str, int]
    failures: Sequence[FailureCount]
    cameras: Mapping[str, int]


class Insights(Protocol):
    """Searching and counting."""

    async def find(self, wanted: Wanted, limit: int) -> Found:
        """Return at most `limit` images; fewer may come before the last page."""
        ...

    async def understand(self, text: str) -> Meaning:
        """Return words and labels of a text."""
        ...

    async def tags(self) -> Sequence[TagCount]:
        """Return all tags that any image carries, the commonest first."""
        ...

    async def pairs(self, limit: int, tag: str | None) -> Sequence[TagPair]:
        """Return the commonest pairs of tags among the newest images."""
        ...

    async def counts(self, since: datetime, until: datetime) -> Counts:
        """Return figures of a time (aware)."""
        ...
