"""Words without a language: what `core.relevance` is given, built by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlainWord:
    """A word as `core.relevance.matching.Word` wants it."""

    text: str
    lemmas: frozenset[str]
    is_function: bool = False


#: Homonyms, by word; every other word is its own lemma.
HOMONYMS: Mapping[str, frozenset[str]] = {
    "cats": frozenset({"cat"}),
    "leaves": frozenset({"leaf", "leave"}),
    "стали": frozenset({"стать", "сталь"}),
}
FUNCTION_WORDS = frozenset({"the", "of", "a", "at", "in", "and"})


def words_of(text: str) -> Sequence[PlainWord]:
    """Split at spaces, lower case."""
    return tuple(
        PlainWord(word, HOMONYMS.get(word, frozenset({word})), word in FUNCTION_WORDS)
        for word in text.lower().split()
    )
