"""What clients get from searches."""

from typing import Literal

from pydantic import Field

from ingress.models.images import ImagePage, ShownImage
from ingress.models.roots import Output


class ShownMatch(Output):
    """A label that a text names, and the words that name it."""

    tag: str
    words: tuple[str, ...]


class FoundImage(ShownImage):
    """An image that a search found."""

    score: float | None = Field(
        None, description="Sum of the matched tags' confidences, where tags were looked for."
    )


class FoundPage(ImagePage):
    """Some images of the archive, in the order that `order` says.

    `arrival`: the newest arrival first. `date`: the last taken first. `relevance`: the greatest sum
    of matched confidences first, then the newest. A page may be shorter than `limit` and still
    have a `next`, where other owners' images were left out.
    """

    images: tuple[FoundImage, ...]
    order: Literal["arrival", "date", "relevance"] = "arrival"
    matched: tuple[ShownMatch, ...] = ()


class ShownToken(Output):
    """One word of a text."""

    text: str
    lemmas: tuple[str, ...]
    is_function: bool = Field(description="A label of several words can do without it.")


class Lemmas(Output):
    """The words of a text, and the labels that they match."""

    text: str
    tokens: tuple[ShownToken, ...]
    matched: tuple[ShownMatch, ...]
