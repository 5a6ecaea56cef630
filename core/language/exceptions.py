"""Lemmas set by hand: those built in per language, and those of a setting, which override them."""

from collections.abc import Mapping

from core.errors import ConfigurationError
from core.language.normalisation import normalise

Exceptions = Mapping[str, frozenset[str]]


def parse_exceptions(value: str) -> Exceptions:
    """Return the lemmas that `word=lemma,word=lemma` sets; a word given twice has both lemmas.

    This is the format of `QUERY_EXCEPTIONS`. `fishing=fishing` keeps a word from becoming the
    lemma that the tables give (fish).

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
