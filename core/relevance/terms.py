"""What a score is made of: each label that a text names, its words, and the image's confidence.

Answers, searches and explanations all say it by this.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NamedLabel:
    """A label that is asked for, and the words that name it; none where it was asked for itself."""

    label_id: int
    name: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of a score.

    Attributes:
        score: in millionths.
    """

    tag: str
    words: tuple[str, ...]
    score: int


def terms_of(named: Iterable[NamedLabel], scores: Mapping[int, int]) -> tuple[Term, ...]:
    """Return the summands of an image's score, the greatest first.

    Args:
        scores: the image's confidences by label id, of those that are asked for.
    """
    terms = (
        Term(one.name, one.words, scores[one.label_id]) for one in named if one.label_id in scores
    )
    return tuple(sorted(terms, key=lambda term: -term.score))
