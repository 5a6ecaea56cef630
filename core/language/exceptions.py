"""Lemmas decided by hand: the built-in ones of a language and those of a setting over them."""

from collections.abc import Mapping

from core.errors import ConfigurationError
from core.language.normalisation import normalise

Exceptions = Mapping[str, frozenset[str]]


def parse_exceptions(value: str) -> Exceptions:
    """Parse `word=lemma,word=lemma` (`QUERY_EXCEPTIONS`); a word given twice has both lemmas.

    `fishing=fishing` keeps a word apart from the lemma that the tables give (fish).

    Raises:
        ConfigurationError: a part is not one word, `=` and one word.
    """
    found: dict[str, frozenset[str]] = {}
    for part in filter(None, (piece.strip() for piece in value.split(","))):
        word, _, lemma = map(normalise, part.partition("="))
        if not word or not lemma or " " in word + lemma:
            raise ConfigurationError(f"QUERY_EXCEPTIONS: {part!r} is not word=lemma")
        found[word] = found.get(word, frozenset()) | {lemma}
    return found
