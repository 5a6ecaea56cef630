"""The lemmatizer shared by these tests, since loading it takes two seconds."""

from functools import cache

from core.language.lemmatizer import Lemmatizer


@cache
def lemmatizer() -> Lemmatizer:
    """Return a lemmatizer without exceptions of a setting."""
    return Lemmatizer()


def pairs(lines: str) -> list[tuple[str, str]]:
    """Parse lines of two words."""
    return [(line.split()[0], line.split()[1]) for line in lines.splitlines() if line]


def lemmas(word: str) -> frozenset[str]:
    """Return the lemmas of a text that is one token."""
    (token,) = lemmatizer().lemmatize(word)
    return token.lemmas
