"""The event that asks for a webhook."""

from enum import StrEnum
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from pydantic import Field

from schemas.image import Failure
from schemas.query import CallbackUrl, Payload
from schemas.strict import Event, Moment, Text, Trace


class AnswerType(StrEnum):
    """The way a query ended; also the `type` of the webhook's body."""

    COMPLETED = "query.completed"
    NO_MATCH = "query.no_match"
    FAILED = "query.failed"


class MatchedTag(Event):
    """A tag that words of the query matched, with the image's confidence in 0..1."""

    tag: Text
    words: tuple[Text, ...] = ()
    score: float = Field(0.0, ge=0)


class OtherImage(Event):
    """A further image of a query with `top_n` above one."""

    image_id: UUID
    score: float = Field(ge=0)


class CallbackRequested(Event):
    """A query's answer that is to be delivered. Value of `callbacks.requested.v1`; no image bytes.

    Attributes:
        matched: the matched tags with the winner's confidences; empty where nothing matched.
        score: sum of the matched confidences.
        traceparent: the query's trace, which the webhook carries too.
    """

    query_id: UUID
    type: AnswerType
    url: CallbackUrl
    text: Text
    owner: Text | None = None
    image_id: UUID | None = None
    score: float = Field(0.0, ge=0)
    lemmas: tuple[Text, ...] = ()
    matched: tuple[MatchedTag, ...] = ()
    others: tuple[OtherImage, ...] = ()
    payload: Payload = "inline"
    label_version: int | None = Field(None, ge=0, le=2**31 - 1)
    error: Failure | None = None
    answered_at: Moment
    traceparent: Trace | None = None


def callback_id_of(query_id: UUID, round_number: int = 0) -> UUID:
    """Return the identity of the callback event, constant over all retries of one answer.

    `round_number` counts the redeliveries that people asked for; each gets an identity of its own.
    """
    return uuid5(query_id, "callback" if round_number == 0 else f"callback/{round_number}")


def host_of(url: str) -> str:
    """Return the host of a URL in lower case; empty where there is none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
