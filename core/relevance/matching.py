"""Find the labels that the words of a query name.

Labels are matched as a whole: a label counts once, however often a query has its name or aliases.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.tags import Label


class Word(Protocol):
    """One word of a query or of a label's name, as `core.language` returns it."""

    @property
    def text(self) -> str:
        """Return the word as it is shown to people."""

    @property
    def lemmas(self) -> frozenset[str]:
        """Return the base forms that it may have; two words are equal where these intersect."""

    @property
    def is_function(self) -> bool:
        """Return whether a name of several words can do without it ("Day of the Dead")."""


WordsOf = Callable[[str], Sequence[Word]]


@dataclass(frozen=True, slots=True)
class Matched:
    """A label that a query names.

    Attributes:
        words: the words of the query that name it, each once, in the query's order.
    """

    label: Label
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Slot:
    """The position of one content word in one name of one label."""

    label: int
    name: int
    word: int


@dataclass(frozen=True, slots=True)
class LabelIndex:
    """An index of labels by lemma. It is immutable: build a new one when the labels change.

    Attributes:
        labels: all labels, in the order in which matches are returned.
        unnamed: labels that no query can name, because no name of theirs has a letter or a digit.
    """

    labels: tuple[Label, ...]
    unnamed: tuple[Label, ...]
    _slots: Mapping[str, tuple[_Slot, ...]]
    _sizes: Mapping[tuple[int, int], int]  # (label, name) -> number of content words

    @classmethod
    def build(cls, labels: Sequence[Label], words_of: WordsOf) -> "LabelIndex":
        """Return an index of the labels by the lemmas of their names and aliases.

        Args:
            words_of: returns the words of a name, normalised as those of queries are.
        """
        slots: defaultdict[str, list[_Slot]] = defaultdict(list)
        sizes: dict[tuple[int, int], int] = {}
        for position, label in enumerate(labels):
            for number, name in enumerate((label.name, *label.aliases)):
                content = content_words(words_of(name))
                if content:
                    sizes[position, number] = len(content)
                for place, word in enumerate(content):
                    for lemma in word.lemmas:
                        slots[lemma].append(_Slot(position, number, place))
        named = {position for position, _ in sizes}
        return cls(
            labels=tuple(labels),
            unnamed=tuple(label for n, label in enumerate(labels) if n not in named),
            _slots={lemma: tuple(places) for lemma, places in slots.items()},
            _sizes=sizes,
        )

    def match(self, words: Iterable[Word]) -> tuple[Matched, ...]:
        """Return the labels that the words name, each once, in the index's order.

        A name of several words matches when all its content words occur, in any order. The time
        grows with the words and the names that share a word with them, not with the labels.
        """
        found: defaultdict[tuple[int, int], defaultdict[int, dict[str, None]]] = defaultdict(
            lambda: defaultdict(dict)
        )  # (label, name) -> position in the name -> words of the query
        order: dict[str, int] = {}
        for word in words:
            if word.text in order:
                continue
            order[word.text] = len(order)
            for lemma in word.lemmas:
                for slot in self._slots.get(lemma, ()):
                    found[slot.label, slot.name][slot.word][word.text] = None
        matched: defaultdict[int, set[str]] = defaultdict(set)
        for name, places in found.items():
            if len(places) == self._sizes[name]:
                matched[name[0]].update(*places.values())
        return tuple(
            Matched(self.labels[position], tuple(sorted(matched[position], key=order.__getitem__)))
            for position in sorted(matched)
        )


def content_words(words: Sequence[Word]) -> tuple[Word, ...]:
    """Return the words of a name that a query must have: all words if all are function words."""
    return tuple(word for word in words if not word.is_function) or tuple(words)


def missing_aliases(labels: Iterable[Label]) -> tuple[Label, ...]:
    """Return the labels that queries in one of the two scripts, Latin and Cyrillic, cannot name.

    Names without any letter (years, numbers) can be named in both.
    """
    return tuple(label for label in labels if _lacks_a_script((label.name, *label.aliases)))


def _lacks_a_script(names: Iterable[str]) -> bool:
    letters = [character for name in names for character in name if character.isalpha()]
    has_cyrillic = any("\u0400" <= letter <= "\u04ff" for letter in letters)
    has_latin = any(letter <= "\u024f" or "\u1e00" <= letter <= "\u1eff" for letter in letters)
    return bool(letters) and not (has_cyrillic and has_latin)
