"""The query role's ports, satisfied by spaCy, the labels in force and PostgreSQL."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from consumers.query.answering import Understood
from core.errors import PermanentError, QueryInvalid
from core.language.lemmatizer import Lemmatizer
from core.relevance.familiar import FamiliarNames
from core.relevance.matching import LabelIndex, missing_aliases
from core.relevance.terms import NamedLabel
from core.storage import labels
from core.storage.queries import queries
from core.storage.queries.queries import NewAnswer
from core.tags import Label
from core.transaction import Database, Transaction
from schemas.callback import CallbackRequested
from schemas.query import QuerySubmitted
from schemas.token import Token
from schemas.topics import Lane

#: Texts up to this length are lemmatized on the event loop (0.1 ms), longer ones in a thread.
SHORT_CHARS = 500
TAGGING_GROUPS = tuple(lane.group for lane in Lane)
MAX_WARNINGS = 20  # labels named one by one at a start; then their number

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class LabelLanguage:
    """Finds the labels that texts name, by an index that follows the labels in force."""

    database: Database
    lemmatizer: Lemmatizer
    max_chars: int
    max_labels: int
    _state: tuple[int, int] = (-1, -1)
    _index: LabelIndex | None = None

    async def refresh(self) -> None:
        """Build the index anew where labels were changed or added."""
        async with self.database.connection() as connection:
            state = await labels.state(connection)
            if state == self._state:
                return
            everything = await labels.everything(connection)
            current = await labels.current(connection)
        self._index = await asyncio.to_thread(
            FamiliarNames.load().index, everything.labels, self.lemmatizer.lemmatize
        )
        if current.version != self._state[0]:
            ours = {label.id for label in current.labels}
            _warn_of_unnamed([label for label in self._index.labels if label.id in ours])
        self._state = (everything.version, state[1])

    async def understand(self, text: str) -> Understood | PermanentError:
        """Return the lemmas of a text and the labels that they match."""
        if len(text) > self.max_chars:
            return QueryInvalid(
                f"a text of {len(text)} characters: the limit is {self.max_chars}",
                reason="query_too_long",
            )
        if self._index is None:
            raise RuntimeError("refresh comes first")
        if len(text) > SHORT_CHARS:
            return await asyncio.to_thread(self._understand, self._index, text)
        return self._understand(self._index, text)

    def _understand(self, index: LabelIndex, text: str) -> Understood:
        tokens = self.lemmatizer.lemmatize(text)
        lemmas = dict.fromkeys(lemma for token in tokens for lemma in sorted(token.lemmas))
        matched = [
            NamedLabel(found.label.id, found.label.name, found.words)
            for found in index.match(tokens)
            if found.label.id is not None
        ]
        return Understood(tuple(lemmas), tuple(matched[: self.max_labels]), self._state[0])


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """Answers and parked queries."""

    database: Database
    after_timeout_s: float

    async def keep(
        self, tx: Transaction, answers: Sequence[tuple[QuerySubmitted, CallbackRequested]]
    ) -> dict[UUID, NewAnswer]:
        """Store answers; return the queries that had none before, with who asked by HTTP."""
        return await queries.answer(tx, answers)

    async def must_wait(self, tokens: Sequence[Token]) -> list[bool | PermanentError]:
        """Return for each whether its upload is still to be dealt with, or why it never will be.

        A token without a cluster was given out before the ingress had heard from the broker.
        """
        async with self.database.connection() as connection:
            ours = await queries.clusters(connection)
            passed = await queries.passed(connection, tokens, TAGGING_GROUPS)
        return [
            _foreign(token) if ours and token.cluster not in {"", *ours} else not is_passed
            for token, is_passed in zip(tokens, passed, strict=True)
        ]

    async def park(self, tx: Transaction, waiting: Sequence[tuple[QuerySubmitted, Token]]) -> None:
        """Let queries wait for uploads."""
        await queries.park(tx, waiting, self.after_timeout_s)

    async def ready(self, limit: int) -> list[tuple[QuerySubmitted, bool]]:
        """Return parked queries that can be answered now, and whether their time is over."""
        async with self.database.connection() as connection:
            return await queries.ready(connection, TAGGING_GROUPS, limit)

    async def unpark(self, tx: Transaction, query_ids: Sequence[UUID]) -> None:
        """Delete them from the parked queries."""
        await queries.unpark(tx, query_ids)


def _warn_of_unnamed(current: Sequence[Label]) -> None:
    """Warn of labels that queries in one of the two languages cannot name."""
    unnamed = missing_aliases(current)
    for label in unnamed[:MAX_WARNINGS]:
        log.warning("label_without_other_language", label=label.name)
    if len(unnamed) > MAX_WARNINGS:
        log.warning("labels_without_other_language", labels=len(unnamed))


def _foreign(token: Token) -> QueryInvalid:
    return QueryInvalid(
        f"`after` names an upload in Kafka cluster {token.cluster[:50]!r}, which is not this one",
        reason="after_other_cluster",
    )
