"""English: exceptions, spaCy's lookup table applied until it stops, guarded plural endings."""

import re
from collections.abc import Mapping

from core.language.exceptions import Exceptions, parse_exceptions
from core.language.normalisation import has_latin
from core.language.tokenizer import torch_hidden

FUNCTION_WORDS = frozenset(
    "a an and at by for from in of on or the to with 's 're 'm 've".split()  # noqa: SIM905 prose
)

#: Words that the table leads astray: to another word (evening -> even, rose -> rise), to a verb
#: where pictures show the noun (leaves -> leave), or round a corner (dove -> dive -> diva).
BUILT_IN = (
    "people=person,leaves=leaf,shelves=shelf,thieves=thief,"
    "better=good,best=good,worse=bad,worst=bad,"
    "evening=evening,news=news,rose=rose,ground=ground,dove=dove,dive=dive,fed=feed,"
    "dice=dice,atlas=atlas,ceiling=ceiling,does=do"
)

_SIBILANTS = ("s", "x", "z", "ch", "sh", "o")  # after these the plural ending is -es
#: Where -ves is the plural of -f (calf, scarf, leaf, thief, loaf, hoof) or of -fe (knife, wife,
#: life): not in caves (cafe), proves (prof), waives (waif).
_F_ENDINGS = (
    (re.compile("(?:[lr]|ea|ie|oa|oo)ves$"), "f"),
    (re.compile("ives$"), "fe"),
)


class English:
    """Words in Latin letters.

    Args:
        exceptions: final lemmas of single words, over `BUILT_IN`; also met on the way, so that
            `fishing=fishing` holds for `fishings`.
    """

    def __init__(self, exceptions: Exceptions | None = None) -> None:
        self._exceptions = {**parse_exceptions(BUILT_IN), **(exceptions or {})}
        self._table = _load_table()
        self._base_forms = frozenset(map(str.casefold, self._table.values()))

    @property
    def function_words(self) -> frozenset[str]:
        """Articles, prepositions, conjunctions and clitics; not `no` and `without`."""
        return FUNCTION_WORDS

    def covers(self, word: str) -> bool:
        """Whether any letter is Latin."""
        return has_latin(word)

    def lemmas(self, word: str) -> frozenset[str]:
        """Base forms of the word; a plural also has its possible singulars.

        Of a word that the table knows, only singulars that it knows too: crosses is crosse to the
        table, and cross; axes is axis, and axe; halves is halve, and half. It knows few words in
        -ie (it has cookies -> cooky), and hardly a wrong one can be made: these always count.
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
        """Apply the table until it stops: it has weddings -> wedding and wedding -> wed."""
        met: list[str] = []
        while word not in self._exceptions:
            met.append(word)
            word = self._table.get(word, word).casefold()  # it has muslims -> Muslim
            if word in met:
                # The end of the way, or a ring (candelabra <-> candelabrum): one name for the ring.
                return frozenset({min(met[met.index(word) :])})
        return self._exceptions[word]


def singulars(word: str) -> tuple[str, ...]:
    """Return what an unknown word may be the plural of; nothing where it does not look like one.

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
    """Read spacy-lookups-data's table (41,582 inflected forms)."""
    with torch_hidden():
        from spacy.lookups import load_lookups
    table: Mapping[str, str] = load_lookups("en", ["lemma_lookup"]).get_table("lemma_lookup")
    return table
