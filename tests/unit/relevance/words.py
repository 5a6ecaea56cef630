"""Words without a language, built by hand as `core.relevance` takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlainWord:
    """A word that satisfies `core.relevance.matching.Word`."""

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
    """Return the words of a text, split at blanks, in lower case."""
    return tuple(
        PlainWord(word, HOMONYMS.get(word, frozenset({word})), word in FUNCTION_WORDS)
        for word in text.lower().split()
    )
