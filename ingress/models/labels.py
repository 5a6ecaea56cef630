"""The default labels as clients see them, and previews of other labels."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field, field_validator

from ingress.models.images import ShownTag
from ingress.models.roots import Output
from schemas.labels import LabelSetText
from schemas.strict import read_whole

DEFAULT_SAMPLE, MAX_SAMPLE = 2_000, 100_000


class ShownTeaching(Output):
    """What the model knows of a label from its photos."""

    photos: int = Field(description="So many of its photos the model had seen when it looked.")
    is_known: bool = Field(
        description="false: it waits until the model has tagged all of its photos, and 20 others"
        " that tell what is ordinary; until then its words alone count, if they do."
    )


class ShownLabel(Output):
    """A label; without templates of its own it has the default ones."""

    name: str
    aliases: tuple[str, ...]
    templates: tuple[str, ...]
    threshold: float | None
    photos: tuple[UUID, ...] = Field(
        (), description="Images that teach it; of these, what the key may see."
    )
    by_words: bool = Field(True, description="false: its photos alone say what it is.")
    teaching: ShownTeaching | None = Field(
        None, description="null: no photos teach it, or the model has not looked at them yet."
    )


class ShownRescoring(Output):
    """Progress of re-scoring the archive with the labels in force."""

    is_done: bool
    total: int = Field(description="Images that had tags of older labels when it began.")
    rescored: int = Field(description="Of these, so many have new ones.")
    older: int = Field(
        description="Images that still answer with tags of older labels, up to 100,000. Those of"
        " another model stay among them until `photo-archive retag`."
    )


class ShownLabels(Output):
    """The default labels."""

    version: int
    changed_at: datetime
    labels: tuple[ShownLabel, ...]
    rescoring: ShownRescoring


class PreviewRequest(LabelSetText):
    """`POST /labels/preview`: the labels as `PUT /labels` would take them."""

    sample: int = Field(
        DEFAULT_SAMPLE,
        ge=1,
        le=MAX_SAMPLE,
        description="So many images are drawn from the whole archive, always the same ones.",
    )

    _read_sample = field_validator("sample", mode="before")(read_whole)


class LabelChange(Output):
    """How many images of the sample carry a label, before and after the change."""

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
    """The changes in the sample."""

    images: int = Field(
        description="Images of the sample that a re-score would tag anew: not those with labels of"
        " their own, with tags set by hand, or of another model."
    )
    changed: int = Field(description="Of these, so many would get other tags, or another order.")
    changed_best: int = Field(description="So many another best tag.")
    labels: tuple[LabelChange, ...] = Field(description="The most changed first, up to 1,000.")
    examples: tuple[ChangedImage, ...] = Field(description="Up to 12.")


class LabelPreview(Output):
    """A preview of other labels, kept for a day; it changes nothing."""

    preview_id: UUID
    state: Literal["waiting", "done", "failed"]
    outcome: PreviewOutcome | None = Field(description="Where it is done.")
    error: str | None = Field(description="Where it failed.")
    created_at: datetime
    finished_at: datetime | None
    links: dict[str, str]
