"""The ranking by brute force: tests compare every faster way with it.

The best image for a set of labels has the greatest sum of scores of those labels. Of equal sums
the newest image wins, of equally new ones the greatest id. An image with sum 0 is no answer.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_INT4_MIN, _INT4_MAX = -(2**31), 2**31 - 1  # years 1931 to 2068


class Rank(NamedTuple):
    """The order of images: a greater tuple is a better image.

    Attributes:
        score: sum of scores in millionths.
        ts: how new the image is, see `recency`.
    """

    score: int
    ts: int
    image_id: int


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """An image with its tags.

    Attributes:
        ts: how new it is, see `recency`.
        scores: (label id, score in millionths) of its tags; each label once, none negative.
    """

    image_id: int
    ts: int
    scores: tuple[tuple[int, int], ...]


def recency(exif_datetime: datetime | None, created_at: datetime, now: datetime) -> int:
    """Return how new an image is: whole seconds from 2000-01-01 UTC, clamped to int4.

    It is the time of the shot where it is known, else of the row. A shot after `now` counts as
    unknown, so a camera whose clock runs ahead gains nothing. Times without a zone count as UTC.
    """
    taken = None if exif_datetime is None else _aware(exif_datetime)
    if taken is None or taken > _aware(now):
        taken = _aware(created_at)
    seconds = (taken - _EPOCH) // _SECOND
    return max(_INT4_MIN, min(_INT4_MAX, seconds))


def best(images: Iterable[ScoredImage], label_ids: Iterable[int]) -> Rank | None:
    """Return the best image for a set of labels; None where no image has a score for any."""
    return next(iter(best_n(images, label_ids, 1)), None)


def best_n(images: Iterable[ScoredImage], label_ids: Iterable[int], n: int) -> tuple[Rank, ...]:
    """Return the `n` best images for a set of labels, best first; fewer where fewer match."""
    wanted = frozenset(label_ids)
    ranks = (_rank(image, wanted) for image in images)
    return tuple(heapq.nlargest(n, (rank for rank in ranks if rank.score > 0)))


def _rank(image: ScoredImage, wanted: frozenset[int]) -> Rank:
    score = sum(score for label_id, score in image.scores if label_id in wanted)
    return Rank(score, image.ts, image.image_id)


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
