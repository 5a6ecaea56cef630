"""Events about queries."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from schemas.strict import Event, Text

MAX_TEXT_CHARS = 10_000


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

    top_n: int = Field(1, ge=1, le=50)
    min_score: float = Field(0.0, ge=0)
    date_from: datetime | None = None
    date_to: datetime | None = None
    after: Text | None = Field(None, max_length=500)
    payload: Literal["inline", "link"] = "inline"


class QuerySubmitted(Event):
    """A request for the best image. Value of `queries.submitted.v1`.

    Attributes:
        query_id: None only from a direct producer; the id is then derived from topic and offset.
        owner: owner of the API key. Believed only where the ingress accepted the query; the
            instance's secret signs for direct producers, whatever they say.
    """

    query_id: UUID | None = None
    text: Text = Field(max_length=MAX_TEXT_CHARS)
    callback_url: Text = Field(min_length=1, max_length=2000)
    owner: Text | None = Field(None, max_length=200)
    options: QueryOptions = QueryOptions()
    submitted_at: datetime | None = None
