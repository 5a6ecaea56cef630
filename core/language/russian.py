"""Russian lemmas: every normal form that pymorphy3's dictionary has for a word."""

from pymorphy3 import MorphAnalyzer

from core.language.normalisation import has_cyrillic

FUNCTION_WORDS = frozenset(
    "а в во для до и из изо за к ко на над о об от ото по под при про с со у же ли бы".split()  # noqa: SIM905 prose
)


class Russian:
    """The lemmas of words in Cyrillic letters.

    All normal forms are taken, not only the likeliest one: among 67 words the first parse alone is
    wrong for цветов (цветок), стали (стать), зимой, белые and пошли. spaCy's own Russian lemmatizer
    uses the same analyser, but returns the word unchanged where it has several normal forms
    (spaCy 3.8, its issue 11626), so the analyser is called directly.
    """

    def __init__(self) -> None:
        self._analyzer = MorphAnalyzer(lang="ru")

    @property
    def function_words(self) -> frozenset[str]:
        """Return prepositions, conjunctions, particles; not `не`, `без`: they change the sense."""
        return FUNCTION_WORDS

    def covers(self, word: str) -> bool:
        """Return whether any letter is Cyrillic."""
        return has_cyrillic(word)

    def lemmas(self, word: str) -> frozenset[str]:
        """Return the normal forms of the word; of an unknown one those that its ending predicts."""
        return frozenset(parse.normal_form for parse in self._analyzer.parse(word))
