"""When two names are the same: labels that look alike are one label.

`label_key` of the database's schema says the same in SQL; a test compares the two.
"""

import unicodedata
from collections.abc import Iterable

_JOINED = "\ufe00\ufe0f"  # first and last of the signs that choose a character's variant


def tidy(name: str) -> str:
    """Return a name as it is kept: composed, without blanks around it, single ones within."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def fold(name: str) -> str:
    """Return what two names have in common if they are one.

    Compatible characters are one (full-width letters, ligatures), as are upper and lower case; what
    cannot be seen does not count, nor how much blank there is. Whole words of another script that
    look alike are other words.
    """
    seen = "".join(character for character in name if _is_seen(character))
    wide = unicodedata.normalize("NFKC", seen).casefold()
    return " ".join(unicodedata.normalize("NFKC", wide).split())


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Return the first of all names that are one, in their order."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(fold(name), name)
    return tuple(first.values())


def _is_seen(character: str) -> bool:
    is_variant = _JOINED[0] <= character <= _JOINED[1]
    return not is_variant and unicodedata.category(character) != "Cf"
