"""Texts to labels, as the query consumer has them: the language is loaded when first wanted."""

import asyncio
from dataclasses import dataclass, field

from core.language.lemmatizer import Lemmatizer
from core.relevance.matching import LabelIndex
from core.storage import labels
from core.transaction import Database
from ingress.reading.ports import Meaning


@dataclass(slots=True)
class Words:
    """The language and the labels in force.

    Args:
        exceptions: as the query consumer's, so that both understand alike.
    """

    database: Database
    exceptions: str
    _lemmatizer: Lemmatizer | None = None
    _index: LabelIndex | None = None
    _state: tuple[int, int] = (-1, -1)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def understand(self, text: str) -> Meaning:
        """Return words and labels of a text. The first call takes 2 s and 110 MB."""
        lemmatizer, index = await self._current()
        tokens = await asyncio.to_thread(lemmatizer.lemmatize, text)
        return Meaning(tokens, index.match(tokens))

    async def _current(self) -> tuple[Lemmatizer, LabelIndex]:
        async with self._lock:
            if self._lemmatizer is None:
                self._lemmatizer = await asyncio.to_thread(Lemmatizer, self.exceptions)
            async with self.database.connection() as connection:
                state = await labels.state(connection)
                if self._index is None or state != self._state:
                    everything = await labels.everything(connection)
                    self._index = await asyncio.to_thread(
                        LabelIndex.build, everything.labels, self._lemmatizer.lemmatize
                    )
                    self._state = state
            return self._lemmatizer, self._index
