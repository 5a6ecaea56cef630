"""Events about queries."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.strict import Event, Moment, OfField, Text, Trace, read_whole
from schemas.token import decode_token

MAX_TEXT_CHARS = 10_000
MAX_SCORE = 1e6  # a sum: there are at most 30,000 labels, and a tag counts once


def _is_token(value: str) -> str:
    decode_token(value)
    return value


#: What the HTTP face and the topic ask of a query, field by field (`QueryRequest` has the same).
QueryText = Annotated[Text, Field(min_length=1, max_length=MAX_TEXT_CHARS, pattern=r"\S")]
CallbackUrl = Annotated[Text, Field(min_length=1, max_length=2000)]
TopN = Annotated[int, Field(ge=1, le=50), BeforeValidator(read_whole)]
MinScore = Annotated[float, Field(ge=0, le=MAX_SCORE, allow_inf_nan=False)]
AfterToken = Annotated[Text, Field(max_length=500), AfterValidator(_is_token)]
Payload = Literal["inline", "link"]


def check_order(date_from: datetime | None, date_to: datetime | None) -> None:
    """Check that a range of dates can hold anything.

    Raises:
        OfField: it ends before it begins.
    """
    if date_from and date_to and date_from >= date_to:
        raise OfField("date_to", "date_from must lie before date_to")


class QueryOptions(Event):
    """The options that a caller may send with the sentence.

    Attributes:
        top_n: number of images; the best one is sent whole, the others as links.
        min_score: an image whose sum is below it is no answer.
        date_from: only images taken (EXIF, else added) at or after it.
        date_to: only images taken before it.
        after: the token that an upload returned; the query waits until that upload has its tags.
        payload: `inline` puts the picture into the body as base64, `link` a signed address.
    """

    top_n: TopN = 1
    min_score: MinScore = 0.0
    date_from: Moment | None = None
    date_to: Moment | None = None
    after: AfterToken | None = None
    payload: Payload = "inline"

    @model_validator(mode="after")
    def _check_dates(self) -> Self:
        check_order(self.date_from, self.date_to)
        return self


class QuerySubmitted(Event):
    """A request for the best image. Value of `queries.submitted.v1`.

    Attributes:
        query_id: None only from a direct producer; the id is then derived from topic and offset.
        owner: owner of the API key. Believed only where the ingress accepted the query; the
            instance's secret signs for direct producers, whatever they say.
        traceparent: the trace that it belongs to, where the record has no such header; the query
            keeps it while it waits, and its answer carries it on.
    """

    query_id: UUID | None = None
    text: QueryText
    callback_url: CallbackUrl
    owner: Text | None = Field(None, max_length=200)
    options: QueryOptions = QueryOptions()
    submitted_at: datetime | None = None
    traceparent: Trace | None = None
