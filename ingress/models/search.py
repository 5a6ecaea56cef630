"""What clients get from searches."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from core.relevance.terms import Term
from core.storage.finding.orders import Order
from core.tags import score_to_float
from ingress.models.images import ImagePage, ShownImage
from ingress.models.roots import Output


class ShownMatch(Output):
    """A label that a text names, and the words that name it."""

    tag: str
    words: tuple[str, ...]


class ShownTerm(ShownMatch):
    """A summand of a score: a tag that was asked for, its words in the text, its confidence."""

    score: float

    @classmethod
    def of_term(cls, term: Term) -> "ShownTerm":
        """Return a term as clients see it."""
        return cls(tag=term.tag, words=term.words, score=score_to_float(term.score))


class FoundImage(ShownImage):
    """An image that was found."""

    score: float | None = Field(
        None, description="Sum of the matched tags' confidences, where tags were looked for."
    )
    terms: tuple[ShownTerm, ...] | None = Field(
        None, description="What the score is the sum of, the greatest first; null without `text`."
    )


class ImageTotal(Output):
    """How many images a filter finds."""

    images: int
    is_exact: bool = Field(description="False: there are more; they are counted up to 10,000.")


class FoundPage(ImagePage):
    """Some images of the archive, in the order that `order` says."""

    images: tuple[FoundImage, ...]
    order: Order = Order.ARRIVAL
    matched: tuple[ShownMatch, ...] = ()
    total: ImageTotal | None = Field(None, description="With `total=true`.")


class ShownToken(Output):
    """One word of a text."""

    text: str
    lemmas: tuple[str, ...]
    is_function: bool = Field(description="A label of several words can do without it.")


class ExplainedWord(ShownToken):
    """One word of a text, and the tags that it names."""

    tags: tuple[str, ...]


class NamingToken(ShownToken):
    """One word of a text; where it names no label, those that are spelled nearly so."""

    nearest: tuple[str, ...] = Field(
        (), description="Of a word without a label, at most three names that are spelled alike."
    )


class Lemmas(Output):
    """The words of a text, and the labels that they match."""

    text: str
    tokens: tuple[NamingToken, ...]
    matched: tuple[ShownMatch, ...]


class MissingTag(ShownMatch):
    """A tag that was asked for and did not count, and why."""

    why: Literal["not_among_its_tags", "below_min_score"]


class MissReason(Output):
    """Why an image is not found."""

    code: Literal[
        "no_word_names_a_tag", "tags_missing", "not_tagged", "failed", "excluded", "outside_dates",
        "below_min_score", "other_filter", "missing_file",
    ]  # fmt: skip
    detail: str


class BestImage(Output):
    """The image that the same search finds first."""

    image_id: UUID
    score: float | None


class Explanation(Output):
    """Why a search finds an image, or why it does not."""

    image_id: UUID
    is_found: bool
    score: float | None = Field(
        description="Sum of the terms, as `GET /images` has it; null where tags are not asked for."
    )
    terms: tuple[ShownTerm, ...]
    words: tuple[ExplainedWord, ...]
    missing: tuple[MissingTag, ...]
    reasons: tuple[MissReason, ...] = Field(description="None where it is found.")
    best: BestImage | None
