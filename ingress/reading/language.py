"""The words of a text and the labels that they name, as the query consumer finds them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.language.lemmatizer import LemmatizedWord, Lemmatizer
from core.relevance.familiar import FamiliarNames
from core.relevance.matching import LabelIndex, Matched
from core.relevance.nearest import NearNames
from core.storage import labels
from core.storage.pool import Pool

#: Words of a text for which names are looked for: a few milliseconds each with many labels.
MOST_LOST = 20


@dataclass(frozen=True, slots=True)
class Meaning:
    """The words of a text, and the labels that they name."""

    tokens: Sequence[LemmatizedWord]
    matched: Sequence[Matched]

    def tags_of(self, word: str) -> tuple[str, ...]:
        """Return the labels that a word of the text names, by itself or with others."""
        return tuple(one.label.name for one in self.matched if word in one.words)


@dataclass(slots=True)
class TextReader:
    """Finds the labels that a text names. The language is loaded by the first text.

    Args:
        exceptions: those of the query consumer, so that both read a text alike.
    """

    pool: Pool
    exceptions: str
    _lemmatizer: Lemmatizer | None = None
    _index: LabelIndex | None = None
    _names: NearNames | None = None
    _state: tuple[int, int] = (-1, -1)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def understand(self, text: str) -> Meaning:
        """Return the words and labels of a text. The first call takes 2 s and 110 MB."""
        lemmatizer, index = await self._current()
        tokens = await asyncio.to_thread(lemmatizer.lemmatize, text)
        return Meaning(tokens, index.match(tokens))

    async def nearest(self, meaning: Meaning) -> dict[str, tuple[str, ...]]:
        """Return labels that are spelled like those words of a text that name none."""
        _, index = await self._current()
        lost = {
            token.text
            for token in meaning.tokens
            if not token.is_function and not meaning.tags_of(token.text)
        }
        return await asyncio.to_thread(self._spelled_like, sorted(lost)[:MOST_LOST], index)

    def _spelled_like(self, words: Sequence[str], index: LabelIndex) -> dict[str, tuple[str, ...]]:
        if self._names is None:
            self._names = NearNames.build(index.labels)
        return {word: self._names.to(word) for word in words}

    async def _current(self) -> tuple[Lemmatizer, LabelIndex]:
        async with self._lock:
            if self._lemmatizer is None:
                self._lemmatizer = await asyncio.to_thread(Lemmatizer, self.exceptions)
            state = await labels.state(self.pool)
            if self._index is None or state != self._state:
                everything = await labels.everything(self.pool)
                self._index = await asyncio.to_thread(
                    FamiliarNames.load().index, everything.labels, self._lemmatizer.lemmatize
                )
                self._state, self._names = state, None
            return self._lemmatizer, self._index
