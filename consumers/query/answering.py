"""From texts to answers, for fresh and for parked queries alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import structlog

from core.errors import ConfigurationError, PermanentError, RecordBroke, TransientError
from core.messaging.cloudevents import encode, in_trace
from core.relevance.terms import NamedLabel, terms_of
from core.tags import score_to_float, score_to_int
from schemas.callback import (
    AnswerType,
    CallbackRequested,
    MatchedTag,
    OtherImage,
    callback_id_of,
    host_of,
)
from schemas.image import Failure
from schemas.query import QueryOptions, QuerySubmitted
from schemas.record import Record
from schemas.topics import CALLBACKS_REQUESTED

log = structlog.get_logger(__name__)

SOURCE = "/consumers/query"


@dataclass(frozen=True, slots=True)
class Understood:
    """The meaning of a text.

    Attributes:
        lemmas: in the order of the words; a word with several readings gives several.
        label_version: version of the default labels that were matched against.
    """

    lemmas: tuple[str, ...]
    labels: tuple[NamedLabel, ...]
    label_version: int


@dataclass(frozen=True, slots=True)
class ImageMatch:
    """An image with the sum of its matched confidences and each of them, in millionths."""

    image_id: UUID
    score: int
    by_label: dict[int, int]


@dataclass(frozen=True, slots=True)
class LabelQuery:
    """The labels of one query, for which the best images are wanted.

    Attributes:
        label_ids: at least one; each once.
        min_score: the least sum, in millionths; at least 1.
    """

    label_ids: tuple[int, ...]
    options: QueryOptions
    min_score: int


class LabelFinder(Protocol):
    """Finds the labels that a text names: `adapters.LabelLanguage`."""

    async def refresh(self) -> None:
        """Take over the labels in force, if they changed."""
        ...

    async def understand(self, text: str) -> Understood | PermanentError:
        """Return the lemmas of a text and the labels that they match."""
        ...


class ImageFinder(Protocol):
    """Looks up the best images: `archive.StoredArchive`."""

    async def best_all(
        self, sought: Sequence[LabelQuery]
    ) -> list[list[ImageMatch] | PermanentError]:
        """Return for each the best images, best first, at most `options.top_n`; or why not."""
        ...


async def answer_all(
    queries: Sequence[QuerySubmitted], labels: LabelFinder, images: ImageFinder
) -> list[CallbackRequested]:
    """Return one answer per query, in order: the best image, `query.no_match` or `query.failed`.

    Free of effects. `labels.refresh` comes first.
    """
    understood = [await labels.understand(query.text) for query in queries]
    sought: dict[int, LabelQuery] = {}
    for position, (query, meaning) in enumerate(zip(queries, understood, strict=True)):
        if isinstance(meaning, Understood) and meaning.labels:
            options = query.options
            label_ids = tuple(label.label_id for label in meaning.labels)
            sought[position] = LabelQuery(
                label_ids, options, max(1, score_to_int(options.min_score))
            )
    results = await images.best_all(tuple(sought.values())) if sought else []
    found = dict(zip(sought, results, strict=True))
    return [
        _answer(query, meaning, found.get(position, []))
        for position, (query, meaning) in enumerate(zip(queries, understood, strict=True))
    ]


async def answer_each(
    queries: Sequence[QuerySubmitted], labels: LabelFinder, images: ImageFinder
) -> list[CallbackRequested]:
    """Return answers as `answer_all` does; where one breaks, it is the one that fails.

    For who is not in the loop, which finds such a record by itself.
    """
    try:
        return await answer_all(queries, labels, images)
    except (TransientError, ConfigurationError):
        raise
    except Exception as error:
        if len(queries) == 1:
            log.exception("parked_query_broke", query_id=str(queries[0].query_id))
            return [failed(queries[0], RecordBroke(error, during="answered"))]
    return [one for query in queries for one in await answer_each([query], labels, images)]


def _answer(
    query: QuerySubmitted,
    understood: Understood | PermanentError,
    found: list[ImageMatch] | PermanentError,
) -> CallbackRequested:
    if isinstance(understood, PermanentError):
        return failed(query, understood)
    if isinstance(found, PermanentError):
        return failed(query, found)
    if not found:
        return _event(
            query,
            AnswerType.NO_MATCH,
            lemmas=understood.lemmas,
            matched=tuple(
                MatchedTag(tag=label.name, words=label.words) for label in understood.labels
            ),
            label_version=understood.label_version,
        )
    best, others = found[0], found[1:]
    return _event(
        query,
        AnswerType.COMPLETED,
        image_id=best.image_id,
        score=score_to_float(best.score),
        lemmas=understood.lemmas,
        matched=_explain(understood, best),
        others=tuple(
            OtherImage(image_id=other.image_id, score=score_to_float(other.score))
            for other in others
        ),
        label_version=understood.label_version,
    )


def failed(query: QuerySubmitted, error: PermanentError) -> CallbackRequested:
    """Return the answer to a query that cannot be answered: `query.failed` with the reason."""
    return _event(query, AnswerType.FAILED, error=Failure.saying(error.reason, str(error)))


def outgoing(event: CallbackRequested, *, owner: str | None) -> Record:
    """Return the record that asks for the webhook; the key is the callback's host.

    Args:
        event: the answer.
        owner: who asked by HTTP and whose secret signs; None: the instance's.
    """
    record = encode(
        CALLBACKS_REQUESTED,
        event.model_copy(update={"owner": owner}),
        key=host_of(event.url),
        event_id=str(callback_id_of(event.query_id)),
        source=SOURCE,
        now=event.answered_at,
    )
    return in_trace(record, event.traceparent)


def _explain(understood: Understood, best: ImageMatch) -> tuple[MatchedTag, ...]:
    return tuple(
        MatchedTag(tag=term.tag, words=term.words, score=score_to_float(term.score))
        for term in terms_of(understood.labels, best.by_label)
    )


def _event(query: QuerySubmitted, kind: AnswerType, **found: object) -> CallbackRequested:
    return CallbackRequested.model_validate(
        {
            "query_id": query.query_id,
            "type": kind,
            "url": query.callback_url,
            "text": query.text,
            "payload": query.options.payload,
            "answered_at": datetime.now(UTC),
            "traceparent": query.traceparent,
            **found,
        }
    )
