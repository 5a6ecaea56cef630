"""Turn queries into answers and callback events.

Knows nothing of Kafka, SQL or spaCy: what it needs, it names below as ports. The first answer of
a query wins; a replay that finds another image changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid5

from consumers.query.answering import Archive, Asked, Language, answer_all, failed, outgoing
from core.errors import PermanentError
from core.failpoints import reach
from core.messaging.role import Item, Outcome, Received
from core.transaction import Transaction
from schemas.callback import CallbackRequested
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.strict import NAMESPACE
from schemas.token import Token


class Answers(Protocol):
    """Where answers are kept, and queries that must wait."""

    async def keep(
        self, tx: Transaction, answers: Sequence[tuple[Asked, CallbackRequested]]
    ) -> dict[UUID, str | None]:
        """Store answers; give the queries that had none before, with who asked by HTTP.

        Whoever may write to the topic may name any owner in a record; only the ingress also wrote
        the row of its query. The owner's secret signs for no one else.
        """
        ...

    async def must_wait(self, tokens: Sequence[Token]) -> list[bool | PermanentError]:
        """Tell for each whether its upload is still to be dealt with, or why it never will be."""
        ...

    async def park(self, tx: Transaction, waiting: Sequence[tuple[Asked, Token]]) -> None:
        """Let queries wait for uploads; none stands twice."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query with its answer; None where it must wait for its upload."""

    asked: Asked
    answer: CallbackRequested | None


QueryItem = Item[QuerySubmitted, Prepared]


@dataclass(frozen=True, slots=True)
class QueryRole:
    """Text -> lemmas -> labels -> best image -> answer; answer -> row and callback event.

    The archive is read in `prepare`, outside the transaction: a query that takes seconds must not
    hold a batch's transaction open beyond its limit. What it finds may be gone a moment later,
    which the delivery finds out in any case.
    """

    language: Language
    archive: Archive
    answers: Answers

    async def prepare(self, batch: Sequence[Received[QuerySubmitted]]) -> list[QueryItem]:
        """Lemmatize, match and look up. Free of effects."""
        await self.language.refresh()
        reach("query.refreshed")
        asked = [asked_of(received) for received in batch]
        # First who must wait, then the archive: an upload that was dealt with is seen.
        waits = await self._waits(asked)
        reach("query.sorted")
        ready = [n for n in range(len(asked)) if waits.get(n, False) is False]
        answers = await answer_all([asked[n] for n in ready], self.language, self.archive)
        reach("query.answered")
        found = dict(zip(ready, answers, strict=True))
        for n, verdict in waits.items():
            if isinstance(verdict, PermanentError):
                found[n] = failed(asked[n], verdict)
        return [
            Item(received, Prepared(asked[n], found.get(n))) for n, received in enumerate(batch)
        ]

    async def _waits(self, asked: Sequence[Asked]) -> dict[int, bool | PermanentError]:
        tokens = {n: query.after for n, query in enumerate(asked) if query.after is not None}
        if not tokens:
            return {}
        waits = await self.answers.must_wait(tuple(tokens.values()))
        return dict(zip(tokens, waits, strict=True))

    async def apply(self, items: Sequence[QueryItem], tx: Transaction) -> Outcome:
        """Keep every answer, or park the query until its upload is tagged."""
        answers: dict[UUID, tuple[Asked, CallbackRequested]] = {}
        waiting: dict[UUID, tuple[Asked, Token]] = {}
        for item in items:
            prepared = _prepared(item)
            query_id = prepared.asked.query_id
            if prepared.answer is not None:
                answers.setdefault(query_id, (prepared.asked, prepared.answer))
            elif prepared.asked.after is not None:
                waiting[query_id] = (prepared.asked, prepared.asked.after)
        parked = [one for query_id, one in waiting.items() if query_id not in answers]
        if parked:
            await self.answers.park(tx, parked)
            reach("query.parked")
        new = await self.answers.keep(tx, list(answers.values()))
        reach("query.kept")
        return Outcome(emitted=_callbacks(answers, new))


def _prepared(item: QueryItem) -> Prepared:
    if isinstance(item.plan, PermanentError):
        asked = asked_of(item.received)
        return Prepared(asked, failed(asked, item.plan))
    return item.plan


def asked_of(received: Received[QuerySubmitted]) -> Asked:
    """Return a query with its identity: its own, or one derived from the record's place."""
    partition = received.partition
    place = f"{partition.topic}/{partition.number}/{received.offset}"
    return Asked.of(received.event, received.event.query_id or uuid5(NAMESPACE, place))


def _callbacks(
    answers: dict[UUID, tuple[Asked, CallbackRequested]], new: Mapping[UUID, str | None]
) -> tuple[Record, ...]:
    return tuple(
        outgoing(event, owner=new[query_id])
        for query_id, (_, event) in answers.items()
        if query_id in new
    )
