"""Names that people type for what a label names, from a table: its rule is its first lines.

A label has these names beside its own and its aliases, wherever it comes from. What people called
a label themselves goes first, and each of these names belongs to one label, so that no word of a
query counts for two labels by them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import product
from math import prod

from core.relevance.matching import LabelIndex, Word, WordsOf, content_words
from core.tags import Label

#: Of a label's name as readings of its words: ordinary names have one to eight.
_MOST_READINGS = 64


@dataclass(frozen=True, slots=True)
class _Place:
    """A part of a line: 0 is the thing itself, the others are its kinds."""

    line: int
    part: int


@dataclass(frozen=True, slots=True)
class FamiliarNames:
    """The table: lines of parts of names.

    Attributes:
        lines: as they are written.
    """

    lines: tuple[tuple[tuple[str, ...], ...], ...]
    _places: Mapping[frozenset[str], _Place]

    @classmethod
    def load(cls) -> "FamiliarNames":
        """Return the table that the package has."""
        table = files("core.relevance").joinpath("familiar_names.txt")
        return cls.parse(table.read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, text: str) -> "FamiliarNames":
        """Return the table that a text is: `word, word > word of a kind, …`; # begins a comment."""
        written = [line for line in text.splitlines() if line.strip() and line[0] != "#"]
        lines = tuple(
            tuple(
                tuple(name.strip() for name in part.split(",") if name.strip())
                for part in line.split(">")
            )
            for line in written
        )
        places = {
            _key(name.replace("-", " ").split()): _Place(line, part)
            for line, parts in enumerate(lines)
            for part, names in enumerate(parts)
            for name in names
        }
        return cls(lines, places)

    def index(self, labels: Sequence[Label], words_of: WordsOf) -> LabelIndex:
        """Return an index of the labels in which these names are aliases too.

        A name that is, to the last word, the name or alias of a label already is left to that one.

        Args:
            words_of: returns the words of a name, normalised as those of queries are.
        """
        own = LabelIndex.build(labels, words_of)
        named = [
            replace(
                label,
                aliases=(
                    *label.aliases,
                    *(name for name in names if not _is_taken(name, own, words_of)),
                ),
            )
            for label, names in zip(labels, self._names_of(labels, words_of), strict=True)
        ]
        return LabelIndex.build(named, words_of)

    def _names_of(self, labels: Sequence[Label], words_of: WordsOf) -> list[tuple[str, ...]]:
        """Return the names that each label has by the table.

        Of two labels that are called by words of one part the first has its names.
        """
        taken: dict[_Place, int] = {}
        for position, label in enumerate(labels):
            if (place := self._place_of(content_words(words_of(label.name)))) is not None:
                taken.setdefault(place, position)
        found: list[tuple[str, ...]] = [()] * len(labels)
        for place, position in taken.items():
            found[position] = tuple(self._names(place, taken))
        return found

    def _names(self, place: _Place, taken: Mapping[_Place, int]) -> Iterator[str]:
        parts = self.lines[place.line]
        yield from parts[place.part]
        for kind in range(1, len(parts)):
            if place.part == 0 and _Place(place.line, kind) not in taken:
                yield from parts[kind]

    def _place_of(self, words: Sequence[Word]) -> _Place | None:
        if prod(len(word.lemmas) for word in words) > _MOST_READINGS:
            return None
        as_written = [_key([word.text for word in words])]
        readings = (_key(reading) for reading in product(*(sorted(w.lemmas) for w in words)))
        found = (self._places.get(key) for key in (*as_written, *readings))
        return next((place for place in found if place is not None), None)


def _is_taken(name: str, own: LabelIndex, words_of: WordsOf) -> bool:
    words = content_words(words_of(name))
    return any({word.text for word in words} == set(one.words) for one in own.match(words))


def _key(words: Sequence[str]) -> frozenset[str]:
    return frozenset(word.casefold().replace("ё", "е") for word in words)
