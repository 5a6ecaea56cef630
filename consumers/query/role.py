"""Turn queries into answers and callback events.

Knows nothing of Kafka, SQL or spaCy: what it needs, it names below as ports. The first answer of
a query wins; a replay that finds another image changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from uuid import UUID, uuid5

import structlog

from consumers.query.answering import (
    ImageFinder,
    LabelFinder,
    answer_all,
    failed,
    outgoing,
)
from core.errors import PermanentError
from core.failpoints import reach
from core.messaging.role import Item, Outcome, Received
from core.telemetry import tracing
from core.transaction import Transaction
from schemas.callback import CallbackRequested, host_of
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.strict import NAMESPACE
from schemas.token import Token, decode_token

log = structlog.get_logger(__name__)


class NewlyAnswered(Protocol):
    """A query that had no answer before."""

    @property
    def owner(self) -> str | None:
        """Return who asked by HTTP; None for a record that somebody else put on the topic."""
        ...

    @property
    def waited_s(self) -> float:
        """Return the seconds since it was accepted."""
        ...


#: Takes an answer's type and the seconds since its query was accepted.
Answered = Callable[[str, float], object]


def unheeded(_kind: str, _seconds: float) -> None:
    """Do nothing with an answer."""


def tell(
    answered: Answered, events: Iterable[CallbackRequested], new: Mapping[UUID, NewlyAnswered]
) -> None:
    """Tell of the answers that are new."""
    for event in events:
        if event.query_id in new:
            waited_s = new[event.query_id].waited_s
            answered(event.type, waited_s)
            log.info(
                "query_answered",
                query_id=str(event.query_id),
                outcome=event.type.value,
                reason=event.error.reason if event.error else None,
                host=host_of(event.url),
                trace_id=tracing.trace_id(event.traceparent),
                waited_ms=round(waited_s * 1000),
            )


class Answers(Protocol):
    """Where answers are kept, and queries that must wait."""

    async def keep(
        self, tx: Transaction, answers: Sequence[tuple[QuerySubmitted, CallbackRequested]]
    ) -> Mapping[UUID, NewlyAnswered]:
        """Store answers; return the queries that had none before, with who asked by HTTP.

        A record may name any owner, since others may write to the topic. Only the ingress writes a
        query's row too, so the owner in the row is believed, and its secret signs for no one else.
        """
        ...

    async def must_wait(self, tokens: Sequence[Token]) -> list[bool | PermanentError]:
        """Return for each whether its upload is still to be dealt with, or why it never will be."""
        ...

    async def park(self, tx: Transaction, waiting: Sequence[tuple[QuerySubmitted, Token]]) -> None:
        """Let queries wait for uploads; none stands twice."""
        ...

    async def ready(self, limit: int) -> list[tuple[QuerySubmitted, bool]]:
        """Return parked queries that can be answered now, and whether their time is over."""
        ...

    async def unpark(self, tx: Transaction, query_ids: Sequence[UUID]) -> None:
        """Forget that they were waiting."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query with its id and its answer; None where it must wait for its upload."""

    query: QuerySubmitted
    answer: CallbackRequested | None


QueryItem = Item[QuerySubmitted, Prepared]


@dataclass(frozen=True, slots=True)
class QueryRole:
    """Text -> lemmas -> labels -> best image -> answer; answer -> row and callback event.

    The archive is read in `prepare`, outside the transaction: a query that takes seconds must not
    hold a batch's transaction open beyond its limit. The image may be deleted a moment later;
    the delivery role checks that in any case.

    Attributes:
        answered: is told of each new answer after its commit, for metrics.
    """

    labels: LabelFinder
    images: ImageFinder
    answers: Answers
    answered: Answered = unheeded

    async def prepare(self, batch: Sequence[Received[QuerySubmitted]]) -> list[QueryItem]:
        """Lemmatize, match and look up. Free of effects."""
        await self.labels.refresh()
        reach("query.refreshed")
        queries = [identified(received) for received in batch]
        # First who must wait, then the images: the tags of an upload that was dealt with are seen.
        waits = await self._waits(queries)
        reach("query.sorted")
        ready = [n for n in range(len(queries)) if waits.get(n, False) is False]
        answers = await answer_all([queries[n] for n in ready], self.labels, self.images)
        reach("query.answered")
        found = dict(zip(ready, answers, strict=True))
        for n, verdict in waits.items():
            if isinstance(verdict, PermanentError):
                found[n] = failed(queries[n], verdict)
        return [
            Item(received, Prepared(queries[n], found.get(n))) for n, received in enumerate(batch)
        ]

    async def _waits(self, queries: Sequence[QuerySubmitted]) -> dict[int, bool | PermanentError]:
        tokens = {
            n: token for n, query in enumerate(queries) if (token := _after(query)) is not None
        }
        if not tokens:
            return {}
        waits = await self.answers.must_wait(tuple(tokens.values()))
        return dict(zip(tokens, waits, strict=True))

    async def apply(self, items: Sequence[QueryItem], tx: Transaction) -> Outcome:
        """Keep every answer, or park the query until its upload is tagged."""
        answers: dict[UUID, tuple[QuerySubmitted, CallbackRequested]] = {}
        waiting: dict[UUID | None, tuple[QuerySubmitted, Token]] = {}
        for item in items:
            prepared = _prepared(item)
            query, answer = prepared.query, prepared.answer
            if answer is not None:
                answers.setdefault(answer.query_id, (query, answer))
            elif (token := _after(query)) is not None:
                waiting[query.query_id] = (query, token)
        parked = [one for query_id, one in waiting.items() if query_id not in answers]
        if parked:
            await self.answers.park(tx, parked)
            reach("query.parked")
        new = await self.answers.keep(tx, list(answers.values()))
        reach("query.kept")
        told = partial(tell, self.answered, [event for _, event in answers.values()], new)
        return Outcome(emitted=_callbacks(answers, new), notices=(told,))


def _prepared(item: QueryItem) -> Prepared:
    if isinstance(item.plan, PermanentError):
        query = identified(item.received)
        return Prepared(query, failed(query, item.plan))
    return item.plan


def identified(received: Received[QuerySubmitted]) -> QuerySubmitted:
    """Return a query with its id, its own or one of the record's place, and with its trace."""
    partition = received.partition
    place = f"{partition.topic}/{partition.number}/{received.offset}"
    query_id = received.event.query_id or uuid5(NAMESPACE, place)
    trace = tracing.valid(received.traceparent) or tracing.valid(received.event.traceparent)
    return received.event.model_copy(update={"query_id": query_id, "traceparent": trace})


def _after(query: QuerySubmitted) -> Token | None:
    """Return the token of the upload that a query waits for.

    Ingress and topic refuse a text that is no token.
    """
    return None if query.options.after is None else decode_token(query.options.after)


def _callbacks(
    answers: dict[UUID, tuple[QuerySubmitted, CallbackRequested]],
    new: Mapping[UUID, NewlyAnswered],
) -> tuple[Record, ...]:
    return tuple(
        outgoing(event, owner=new[query_id].owner)
        for query_id, (_, event) in answers.items()
        if query_id in new
    )
