"""Changes to all images that a filter finds, as clients send and see them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from ingress.models.page.filters import ImageFilterText
from ingress.models.roots import Input, Output, Tag, examples
from schemas.strict import read_whole

MAX_DELAY_S = 60


class WantedChange(Input):
    """One decision: exactly one field."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"remove_tag": "dog"}, {"excluded": True}],
            "minProperties": 1,
            "maxProperties": 1,
        }
    )

    remove_tag: Tag | SkipJsonSchema[None] = Field(
        None,
        description="Take a tag of the model away, for good: it stays away when the image is tagged"
        " again. What people set or added stays.",
    )
    add_tag: Tag | SkipJsonSchema[None] = Field(
        None, description="Show a tag beside the others, with score 1."
    )
    excluded: bool | SkipJsonSchema[None] = Field(
        None, description="Whether they may never be an answer."
    )
    forget_hand_tags: Literal[True] | SkipJsonSchema[None] = Field(
        None, description="Show the model's tags again, all of them and none besides."
    )
    delete: Literal[True] | SkipJsonSchema[None] = Field(
        None,
        description="As `DELETE /images/{image_id}`; it cannot be undone once it has begun.",
    )

    @model_validator(mode="after")
    def _one(self) -> "WantedChange":
        if len(self.model_fields_set) != 1 or len(self.chosen) != 1:
            raise ValueError("exactly one change is made at a time")
        return self

    @property
    def chosen(self) -> dict[str, Any]:
        """The kind and its value."""
        return self.model_dump(exclude_none=True)


class ImageChangeRequest(Input):
    """`POST /images/changes`."""

    model_config = examples(
        {"filter": {"all": ["dog"]}, "change": {"remove_tag": "dog"}, "dry_run": True},
        {"filter": {"folder": "photos/scans"}, "change": {"excluded": True}},
    )

    filter: ImageFilterText
    change: WantedChange
    dry_run: bool = Field(False, description="Only count.")
    delay_s: int = Field(
        0, ge=0, le=MAX_DELAY_S, description="Begin so much later: until then it can be undone."
    )

    _read_delay = field_validator("delay_s", mode="before")(read_whole)


class ChangeCount(Output):
    """What a change would do; nothing was changed."""

    matches: int = Field(description="Images that the filter finds.")
    would_change: int = Field(
        description="Of these, so many are the caller's to change, and not yet as it wants them."
    )
    is_exact: bool = Field(description="False: there are more; they are counted up to 10,000.")


class ShownChange(Output):
    """A change to many images."""

    change_id: UUID
    state: Literal["waiting", "running", "done", "undoing", "undone", "failed"]
    filter: dict[str, Any] = Field(
        description="As it was sent; in lists of its `ids` the first 100."
    )
    change: dict[str, Any]
    matches: int = Field(description="Images that the filter found when it was sent.")
    is_exact: bool = Field(description="False: there were more than `matches`.")
    changed: int
    failed: int = Field(0, description="Images that an undo left alone: changed again since.")
    restored: int = Field(description="Of the changed ones, by an undo.")
    error: str | None
    created_at: datetime
    begins_at: datetime = Field(description="Until then it waits.")
    finished_at: datetime | None
    can_undo_until: datetime | None = Field(description="Null: it can't be undone.")
    links: dict[str, str]


class ChangePage(Output):
    """Some changes, the newest first."""

    changes: tuple[ShownChange, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")
