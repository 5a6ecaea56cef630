"""Which images somebody looks for, as one value, and as it is kept. Its SQL is in `filter_sql`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from core.storage import labels
from core.transaction import Transaction

STATUSES = ("accepted", "tagged", "failed", "missing")


@dataclass(frozen=True, slots=True)
class AskedTag:
    """A tag that is asked for, and its label; None: no image can carry it."""

    name: str
    label_id: int | None


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which images; all that is set must hold, and what is None restricts nothing.

    Tags, texts and a least score find images that are answers: tagged, and not excluded. With
    `excluded` they find those that people took out of the answers.

    Attributes:
        owner: only what this owner may see; None: an administrator, who sees all.
        reason: failed, and for this reason.
        since: taken then or later (aware); `until`: before. What has no date was taken when it
            arrived.
        folder: in this folder or below it.
        hand_tagged: people set its tags, or added one.
        has_date: its file says when it was taken.
        every: with each of these tags; `some`: with at least one; `without`: showing none of these.
        named: with at least one of these labels, which a text names; () where it names none.
        min_score: in millionths. Of what a text names, the least sum of confidences; else the least
            confidence of each tag asked for; without tags, of the best one.
    """

    owner: str | None = None
    image_ids: tuple[UUID, ...] | None = None
    job_id: UUID | None = None
    status: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    folder: str | None = None
    camera: str | None = None
    excluded: bool | None = None
    hand_tagged: bool | None = None
    has_tags: bool | None = None
    has_date: bool | None = None
    every: tuple[AskedTag, ...] = ()
    some: tuple[AskedTag, ...] = ()
    without: tuple[str, ...] = ()
    named: tuple[int, ...] | None = None
    min_score: int = 0

    @property
    def ranked(self) -> tuple[int, ...] | None:
        """The labels whose confidences add up to an image's score; None: it has none."""
        if self.named is not None:
            return self.named
        tags = {tag.label_id for tag in (*self.every, *self.some) if tag.label_id is not None}
        return tuple(sorted(tags)) if self.every or self.some else None

    @property
    def unranked(self) -> "ImageFilter":
        """What is left to be asked of an image that has a label of `ranked`."""
        if self.named is not None:
            return replace(self, named=None, min_score=0)
        if self.min_score or (self.every and self.some) or len(self.every) > 1:
            return self
        return replace(self, every=(), some=())


def to_json(wanted: ImageFilter) -> str:
    """Return a filter as it is kept."""
    values = asdict(wanted)
    return json.dumps(
        {name: value for name, value in values.items() if value not in (None, 0) or value is False},
        default=str,
    )


def from_json(text: str) -> ImageFilter:
    """Return a filter that was kept."""
    values: dict[str, Any] = json.loads(text)
    for name in ("since", "until"):
        if name in values:
            values[name] = datetime.fromisoformat(values[name])
    for name in ("every", "some"):
        values[name] = tuple(AskedTag(**one) for one in values.get(name, ()))
    if "job_id" in values:
        values["job_id"] = UUID(values["job_id"])
    if "image_ids" in values:
        values["image_ids"] = tuple(map(UUID, values["image_ids"]))
    for name in ("without", "named"):
        if name in values:
            values[name] = tuple(values[name])
    return ImageFilter(**values)


async def tag(connection: Transaction, names: Sequence[str]) -> tuple[AskedTag, ...]:
    """Return these tags with their labels."""
    known = await labels.known(connection, names) if names else {}
    spelling = await labels.spelled(connection, names)
    return tuple(AskedTag(spelling[name], known.get(name)) for name in names)
