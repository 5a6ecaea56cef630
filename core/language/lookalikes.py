"""Letters of the Latin and the Cyrillic script that look alike, for words that mix the two.

A hand that forgot to change the keyboard leaves such words: "саt" with two Cyrillic letters. Words
of one script are what they are, whatever they look like: "сор" is no "cop".
"""

from core.language.normalisation import has_cyrillic, has_latin

#: Cyrillic and Latin, in pairs. Texts are case-folded by then, and capitals look alike where small
#: letters do not: В and B, Н and H.
_PAIRS = "аa вb еe кk мm нh оo рp сc тt уy хx".split()  # noqa: SIM905 - pairs are read so
_TO_CYRILLIC = {ord(pair[1]): pair[0] for pair in _PAIRS}
#: Letters of other languages as well: no Russian word has them.
_TO_LATIN = {ord(pair[0]): pair[1] for pair in (*_PAIRS, "іi", "јj", "ѕs", "һh", "ӏl")}


def in_either_script(word: str) -> tuple[str, ...]:
    """Return a word that mixes the scripts as it is written in one of them, where that is possible.

    None of a word in one script: it means what it says.
    """
    if not (has_cyrillic(word) and has_latin(word)):
        return ()
    latin, cyrillic = word.translate(_TO_LATIN), word.translate(_TO_CYRILLIC)
    return tuple(
        other
        for other, is_mixed in ((latin, has_cyrillic(latin)), (cyrillic, has_latin(cyrillic)))
        if not is_mixed
    )
