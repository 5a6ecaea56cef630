"""English lemmas: exceptions, spaCy's lookup table applied repeatedly, then plural endings."""

import re
from collections.abc import Mapping

from core.language.exceptions import Exceptions, parse_exceptions
from core.language.normalisation import has_latin
from core.language.tokenizer import torch_hidden

FUNCTION_WORDS = frozenset(
    "a an and at by for from in of on or the to with 's 're 'm 've".split()  # noqa: SIM905 prose
)

#: Words that the table maps to a wrong lemma: to another word (evening -> even, rose -> rise), to a
#: verb where pictures show the noun (leaves -> leave), or over two steps (dove -> dive -> diva).
BUILT_IN = (
    "people=person,leaves=leaf,shelves=shelf,thieves=thief,"
    "better=good,best=good,worse=bad,worst=bad,"
    "evening=evening,news=news,rose=rose,ground=ground,dove=dove,dive=dive,fed=feed,"
    "dice=dice,atlas=atlas,ceiling=ceiling,does=do"
)

_SIBILANTS = ("s", "x", "z", "ch", "sh", "o")  # the plural of words that end so is formed with -es
#: Endings in which -ves is the plural of -f (calf, scarf, leaf, thief, loaf, hoof) or of -fe
#: (knife, wife, life). They leave out caves (not cafe), proves (not prof) and waives (not waif).
_F_ENDINGS = (
    (re.compile("(?:[lr]|ea|ie|oa|oo)ves$"), "f"),
    (re.compile("ives$"), "fe"),
)


class English:
    """The lemmas of words in Latin letters.

    Args:
        exceptions: final lemmas of single words; they override `BUILT_IN`. They also apply to a
            word that the table leads to, so that `fishing=fishing` holds for `fishings`.
    """

    def __init__(self, exceptions: Exceptions | None = None) -> None:
        self._exceptions = {**parse_exceptions(BUILT_IN), **(exceptions or {})}
        self._table = _load_table()
        self._base_forms = frozenset(map(str.casefold, self._table.values()))

    @property
    def function_words(self) -> frozenset[str]:
        """Return articles, prepositions, conjunctions and clitics; not `no` and `without`."""
        return FUNCTION_WORDS

    def covers(self, word: str) -> bool:
        """Return whether any letter is Latin."""
        return has_latin(word)

    def lemmas(self, word: str) -> frozenset[str]:
        """Return the base forms of the word, for a plural its possible singulars as well.

        For a word in the table only the singulars that are base forms in it are added: the table
        maps crosses to crosse, cross is added; axes to axis, axe is added; halves to halve, half.
        The table has few words in -ie (it maps cookies to cooky), and such a singular is hardly
        ever wrong, so that these are always added.
        """
        settled = self._settle(word)
        if word in self._exceptions or word in self._base_forms:
            return settled
        is_unknown = word not in self._table
        return settled.union(
            *(
                self._settle(singular)
                for singular in singulars(word)
                if is_unknown or singular in self._base_forms or singular.endswith("ie")
            )
        )

    def _settle(self, word: str) -> frozenset[str]:
        """Apply the table until nothing changes: it maps weddings to wedding and wedding to wed."""
        met: list[str] = []
        while word not in self._exceptions:
            met.append(word)
            word = self._table.get(word, word).casefold()  # the table maps muslims to Muslim
            if word in met:
                # A fixed point, or a cycle (candelabra <-> candelabrum): take its least word.
                return frozenset({min(met[met.index(word) :])})
        return self._exceptions[word]


def singulars(word: str) -> tuple[str, ...]:
    """Return the words that this one may be the plural of; none where it does not look plural.

    Words in -ss, -us, -is are singulars (dress, cactus, iris).
    """
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return ()
    if word.endswith("ies"):
        return word[:-1], word[:-3] + "y"
    if word.endswith("ves"):
        return word[:-1], *(word[:-3] + end for after, end in _F_ENDINGS if after.search(word))
    if word.endswith("es") and word[:-2].endswith(_SIBILANTS):
        return word[:-1], word[:-2]
    return (word[:-1],)


def _load_table() -> Mapping[str, str]:
    """Return the lookup table of spacy-lookups-data (41,582 inflected forms)."""
    with torch_hidden():
        from spacy.lookups import load_lookups
    table: Mapping[str, str] = load_lookups("en", ["lemma_lookup"]).get_table("lemma_lookup")
    return table
