"""The words of a text and the labels that they name, as the query consumer finds them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.language.lemmatizer import LemmatizedWord, Lemmatizer
from core.relevance.matching import LabelIndex, Matched
from core.storage import labels
from core.storage.pool import Pool


@dataclass(frozen=True, slots=True)
class Meaning:
    """The words of a text, and the labels that they name."""

    tokens: Sequence[LemmatizedWord]
    matched: Sequence[Matched]


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
    _state: tuple[int, int] = (-1, -1)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def understand(self, text: str) -> Meaning:
        """Return the words and labels of a text. The first call takes 2 s and 110 MB."""
        lemmatizer, index = await self._current()
        tokens = await asyncio.to_thread(lemmatizer.lemmatize, text)
        return Meaning(tokens, index.match(tokens))

    async def _current(self) -> tuple[Lemmatizer, LabelIndex]:
        async with self._lock:
            if self._lemmatizer is None:
                self._lemmatizer = await asyncio.to_thread(Lemmatizer, self.exceptions)
            state = await labels.state(self.pool)
            if self._index is None or state != self._state:
                everything = await labels.everything(self.pool)
                self._index = await asyncio.to_thread(
                    LabelIndex.build, everything.labels, self._lemmatizer.lemmatize
                )
                self._state = state
            return self._lemmatizer, self._index
