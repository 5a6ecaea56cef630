"""What people decided about an image, and the tags that it shows by it.

Tags set by hand replace the model's. Beside that single tags of the model may be rejected, and
others added, while the rest stays the model's. All of it stands in `images`, and is applied
wherever tags are written. The schema's `shown_tags` says the same as `shown`; a test compares them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.tags import SCORE_SCALE, TagScore, score_to_int

#: Columns of `images`.
COLUMNS = "hand_tags, excluded, rejected_tags, added_tags"
#: Of `images i`: whether people decided about the tags, so that the model's are kept beside them.
CHANGES_TAGS = "(i.hand_tags IS NOT NULL OR i.rejected_tags <> '{}' OR i.added_tags <> '{}')"


@dataclass(frozen=True, slots=True)
class Decided:
    """The decisions about one image.

    Attributes:
        tags: shown in place of the model's; None: none were set.
        excluded: it is never an answer.
        rejected: tags of the model that are not shown.
        added: shown beside the model's, with the greatest confidence.
    """

    tags: tuple[TagScore, ...] | None = None
    excluded: bool = False
    rejected: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Decided":
        """Return the decisions in a row with `COLUMNS`."""
        rejected, added = tuple(row["rejected_tags"]), tuple(row["added_tags"])
        return cls(read_tags(row["hand_tags"]), row["excluded"], rejected, added)

    @property
    def changes_tags(self) -> bool:
        """Whether other tags are shown than the model's, or may be."""
        return self.tags is not None or bool(self.rejected or self.added)

    @property
    def names(self) -> frozenset[str]:
        """The tags that people gave it."""
        return frozenset((*(tag.tag for tag in self.tags or ()), *self.added))

    def shown(self, model: Sequence[TagScore]) -> tuple[TagScore, ...]:
        """Return the tags that are shown where the model says these, best first."""
        if self.tags is not None:
            return self.tags
        hidden = {*self.rejected, *self.added}
        added = (TagScore(name, SCORE_SCALE) for name in self.added)
        return (*added, *(tag for tag in model if tag.tag not in hidden))


UNDECIDED = Decided()


def read_tags(text: str | None) -> tuple[TagScore, ...] | None:
    """Return the tags in a JSON column."""
    if text is None:
        return None
    return tuple(TagScore(tag["tag"], score_to_int(tag["score"])) for tag in json.loads(text))


def tags_json(tags: Sequence[TagScore]) -> str:
    """Return the column `tags`: `[{"tag": …, "score": …}]`, best first."""
    return json.dumps(
        [{"tag": tag.tag, "score": tag.confidence} for tag in tags], ensure_ascii=False
    )
