"""One spelling for queries, labels and aliases alike."""

import re
import unicodedata

#: What people type for an apostrophe: typographic quotes, modifier letter, prime, accents.
_APOSTROPHES = str.maketrans(dict.fromkeys("‘’‛ʼ′＇`´", "'"))
#: Stress marks of Russian dictionaries and textbooks. They stand on vowels only, and NFC composes
#: them with none of those but ѐ and ѝ, which are no Russian letters.
_STRESS = re.compile("(?<=[\u0400-\u04ff])[\u0300\u0301]+")
_CYRILLIC = re.compile("[\u0400-\u04ff]")
_LATIN = re.compile("[a-z\u00df-\u00f6\u00f8-\u024f\u1e00-\u1eff]", re.IGNORECASE)
#: Kept between two letters or digits (don't, 12:30, 2,5, 4.5); elsewhere they separate words.
_JOINERS = re.compile(r"(?<=[^\W_])'(?=[^\W_])|(?<=\d)[.,:](?=\d)")
_JOINER_CHARACTERS = "'.,:"


def normalise(text: str) -> str:
    """Return the text case-folded, composed, with single spaces between words.

    Compatible characters are one: full-width letters, ligatures, circled digits.

    Keeps letters, digits and their marks, and `'` `.` `,` `:` where they stand inside a word or a
    number. All else separates words: hyphens and underscores ("Victory-Day", "9-мая"), emoji,
    control characters, NUL. Invisible characters (soft hyphen, direction marks, joiners) and
    stress marks after Cyrillic letters are removed. Applying it twice changes nothing.
    """
    folded = unicodedata.normalize("NFKC", _fold(text))
    joined = {match.start() for match in _JOINERS.finditer(folded)}
    characters = [
        character
        if (position in joined if character in _JOINER_CHARACTERS else _is_word_part(character))
        else " "
        for position, character in enumerate(folded)
    ]
    return " ".join("".join(characters).split())


def _fold(text: str) -> str:
    """Return the text case-folded and composed (NFKC), without invisible characters."""
    # Apostrophes first: an acute accent (U+00B4) is a blank with a mark by compatibility.
    shaped = "".join(map(_shape, text.translate(_APOSTROPHES)))
    # Case folding may decompose a character, and composing may yield one that folds again
    # (U+0345, U+1FB3). Unicode's canonical caseless matching therefore normalises, folds and
    # normalises again.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", shaped).casefold())
    composed = unicodedata.normalize("NFKC", decomposed.casefold())
    return _STRESS.sub("", composed).translate(_APOSTROPHES)


def _shape(character: str) -> str:
    """Return "" for an invisible character, " " for the zero-width space, else the character."""
    if character.isascii():
        return character
    if character == "\u200b":
        return " "
    is_shapeless = unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"
    return "" if is_shapeless else character


def _is_word_part(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


def has_cyrillic(text: str) -> bool:
    """Return whether any letter is Cyrillic (U+0400 to U+04FF)."""
    return _CYRILLIC.search(text) is not None


def has_latin(text: str) -> bool:
    """Return whether any letter is Latin."""
    return _LATIN.search(text) is not None
