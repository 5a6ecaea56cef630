"""Queries and their answers, as the query role hands them to the storage."""

from datetime import UTC, datetime
from uuid import UUID

from schemas.callback import AnswerType, CallbackRequested
from schemas.query import QuerySubmitted

URL = "https://a.example/x"


def asked(query_id: UUID, url: str = URL) -> QuerySubmitted:
    """Return a query with its id."""
    return QuerySubmitted(query_id=query_id, text="cats", callback_url=url)


def answered(
    query_id: UUID, url: str = URL, image_id: UUID | None = None
) -> tuple[QuerySubmitted, CallbackRequested]:
    """Return a query with its answer: an image, or none."""
    answer = CallbackRequested(
        query_id=query_id,
        type=AnswerType.NO_MATCH if image_id is None else AnswerType.COMPLETED,
        url=url,
        text="cats",
        image_id=image_id,
        answered_at=datetime.now(UTC),
    )
    return asked(query_id, url), answer


def webhook(
    delivery_id: UUID, query_id: UUID, owner: str | None, target: str, url: str
) -> tuple[UUID, str, CallbackRequested]:
    """Return a webhook for the schedule."""
    _, event = answered(query_id, url)
    return delivery_id, target, event.model_copy(update={"owner": owner})
