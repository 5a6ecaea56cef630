"""One spelling for queries, labels and aliases alike."""

import re
import unicodedata

#: Typed for an apostrophe: typographic quotes, modifier letter, prime, grave and acute accents.
_APOSTROPHES = str.maketrans(dict.fromkeys("‘’‛ʼ′＇`´", "'"))
#: Marks of stress in Russian dictionaries and textbooks. They fall on vowels only; NFC composes
#: none of these except ѐ and ѝ, which Russian does not have.
_STRESS = re.compile("(?<=[\u0400-\u04ff])[\u0300\u0301]+")
_CYRILLIC = re.compile("[\u0400-\u04ff]")
_LATIN = re.compile("[a-z\u00df-\u00f6\u00f8-\u024f\u1e00-\u1eff]", re.IGNORECASE)
#: Kept inside a word only: don't, 12:30, 2,5, 4.5. Everywhere else they separate.
_JOINERS = re.compile(r"(?<=[^\W_])'(?=[^\W_])|(?<=\d)[.,:](?=\d)")
_JOINER_CHARACTERS = "'.,:"


def normalise(text: str) -> str:
    """Return the text case-folded, composed, with single spaces between words.

    Keeps letters, digits and their marks, and `'` `.` `,` `:` where they stand inside a word or a
    number. All else separates words: hyphens and underscores ("Victory-Day", "9-мая"), emoji,
    control characters, NUL. Characters without a shape (soft hyphen, direction marks, joiners) go.
    Stress marks after Cyrillic letters go too. Applying it twice changes nothing.
    """
    folded = unicodedata.normalize("NFC", _fold(text))
    joined = {match.start() for match in _JOINERS.finditer(folded)}
    characters = [
        character
        if (position in joined if character in _JOINER_CHARACTERS else _is_word_part(character))
        else " "
        for position, character in enumerate(folded)
    ]
    return " ".join("".join(characters).split())


def _fold(text: str) -> str:
    """Fold case, accents' composition and invisible characters."""
    shaped = "".join(map(_shape, text))
    # Casefolding may decompose and composing may bring back what folds again (U+0345, U+1FB3):
    # Unicode's canonical caseless matching therefore folds between two normalisations.
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFC", shaped).casefold())
    composed = unicodedata.normalize("NFC", decomposed.casefold())
    return _STRESS.sub("", composed).translate(_APOSTROPHES)


def _shape(character: str) -> str:
    """Return nothing for a character without a shape, a space for the zero-width space."""
    if character.isascii():
        return character
    if character == "\u200b":
        return " "
    is_shapeless = unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"
    return "" if is_shapeless else character


def _is_word_part(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


def has_cyrillic(text: str) -> bool:
    """Whether any letter is Cyrillic (U+0400 to U+04FF)."""
    return _CYRILLIC.search(text) is not None


def has_latin(text: str) -> bool:
    """Whether any letter is Latin."""
    return _LATIN.search(text) is not None
