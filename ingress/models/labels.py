"""What other labels would change, as clients ask and are told."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field

from ingress.models.responses import Output, ShownTag
from schemas.labels import LabelSetText

DEFAULT_SAMPLE, MAX_SAMPLE = 2_000, 20_000


def _whole(value: Any) -> Any:
    # To JSON Schema 2.0 is an integer: clients whose numbers are all floats write it so.
    return int(value) if isinstance(value, float) and value.is_integer() else value


class PreviewRequest(LabelSetText):
    """`POST /labels/preview`: the labels as `PUT /labels` would take them."""

    sample: Annotated[int, BeforeValidator(_whole)] = Field(
        DEFAULT_SAMPLE,
        ge=1,
        le=MAX_SAMPLE,
        description="So many images are drawn from the whole archive, always the same ones.",
    )


class LabelChange(Output):
    """How many images of the sample carry a label, now and then."""

    name: str
    before: int
    after: int
    gained: int
    lost: int


class ChangedImage(Output):
    """An image whose tags would change."""

    image_id: UUID
    image_path: str
    before: tuple[ShownTag, ...]
    after: tuple[ShownTag, ...]


class PreviewOutcome(Output):
    """What would change, in the sample."""

    images: int = Field(
        description="Images of the sample that a re-score would tag anew: not those with labels of"
        " their own, with tags set by hand, or of another model."
    )
    changed: int = Field(description="Of these, so many would get other tags, or another order.")
    changed_best: int = Field(description="So many another best tag.")
    labels: tuple[LabelChange, ...] = Field(description="The most changed first, up to 1,000.")
    examples: tuple[ChangedImage, ...] = Field(description="Up to 12.")


class LabelPreview(Output):
    """A preview of other labels. Nothing was changed; it is kept for a day."""

    preview_id: UUID
    state: Literal["waiting", "done", "failed"]
    outcome: PreviewOutcome | None = Field(description="Where it is done.")
    error: str | None = Field(description="Where it failed.")
    created_at: datetime
    finished_at: datetime | None
    links: dict[str, str]
