"""The body of the webhook (Standard Webhooks 1.0: type, timestamp, data)."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, JsonValue

from schemas.callback import AnswerType, MatchedTag
from schemas.image import Failure
from schemas.operator_event import OperatorEventType


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class WebhookImage(_Part):
    """The image of the answer: its bytes as base64, or a signed link to them."""

    id: UUID
    path: str
    media_type: str
    base64: str | None = None
    url: str | None = None


class WebhookOther(_Part):
    """A further image, as a signed link."""

    id: UUID
    score: float
    url: str


class WebhookData(_Part):
    """The answer: what was asked, what matched, and the images."""

    query_id: UUID
    text: str
    lemmas: tuple[str, ...]
    matched: tuple[MatchedTag, ...]
    score: float
    image: WebhookImage | None = None
    others: tuple[WebhookOther, ...] = ()
    error: Failure | None = None


class WebhookBody(_Part):
    """The whole body; `timestamp` is when the answer was made, the same over all retries."""

    type: AnswerType
    timestamp: datetime
    data: WebhookData


class OperatorBody(_Part):
    """The whole body of an operator event's webhook; `timestamp` is when it was noticed."""

    type: OperatorEventType
    timestamp: datetime
    data: dict[str, JsonValue]
