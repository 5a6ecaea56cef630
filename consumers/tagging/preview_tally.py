"""What other labels would change, counted over portions of a sample."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from core.storage.scoring.label_previews import SampledImages, ShownTags
from core.tags import TagScore
from core.vision.scoring import Matrix, best, rank

MAX_EXAMPLES = 12
MAX_LABELS_SHOWN = 1_000

Names = tuple[str, ...]
Tags = tuple[TagScore, ...]


@dataclass(slots=True)
class PreviewTally:
    """Counts pairs of what images show and would show: many images have the same.

    Args:
        names: the labels that would be in force.
        score: gives confidences of embeddings, (n, dim), under them.
    """

    names: Sequence[str]
    score: Callable[[NDArray[np.float16]], Matrix]
    images: int = 0
    _pairs: Counter[tuple[Names, Names]] = field(default_factory=Counter)
    _changed: dict[UUID, Tags] = field(default_factory=dict)  # the first ones, as examples,
    _changed_best: dict[UUID, Tags] = field(default_factory=dict)  # and of these with a new best

    def add(self, drawn: SampledImages) -> None:
        """Count a portion of the sample; it blocks."""
        count = len(drawn.image_ids)
        self.images += count
        if not count:
            return
        scores = self.score(np.frombuffer(drawn.embeddings, "<f2").reshape(count, -1))
        after = self._names_after(scores, drawn)
        for at, pair in enumerate(zip(map(_names_of, drawn.names), after, strict=True)):
            self._pairs[pair] += 1
            old, new = pair
            if old == new:
                continue
            for examples, is_one in (
                (self._changed_best, old[:1] != new[:1]),
                (self._changed, True),
            ):
                if is_one and len(examples) < MAX_EXAMPLES:
                    examples[drawn.image_ids[at]] = self._tags(scores, drawn, at)

    def _names_after(self, scores: Matrix, drawn: SampledImages) -> list[Names]:
        top_k = np.array(drawn.top_k)
        places, found = best(scores, int(top_k.max()))
        places = np.where((found >= 0) & (np.arange(places.shape[1]) < top_k[:, None]), places, -1)
        named = _Naming(self.names)
        after = [named[row] for row in map(bytes, places.astype(np.int32))]
        for at in drawn.decided:
            after[at] = tuple(tag.tag for tag in self._tags(scores, drawn, at))
        return after

    def _tags(self, scores: Matrix, drawn: SampledImages, at: int) -> Tags:
        [tags] = rank(scores[at : at + 1], self.names, [drawn.top_k[at]])
        decided = drawn.decided.get(at)
        return tags if decided is None else decided.shown(tags)

    @property
    def examples(self) -> dict[UUID, Tags]:
        """The tags that some images would get: with a new best one, where there are such."""
        return self._changed_best or self._changed

    def outcome(self, before: Mapping[UUID, ShownTags]) -> dict[str, Any]:
        """Return what changes, as JSON: figures, per label, and examples.

        Args:
            before: what the examples show.
        """
        had, gets, gained, lost = (Counter[str]() for _ in range(4))
        changed = changed_best = 0
        for (old, new), images in self._pairs.items():
            changed += images * (old != new)
            changed_best += images * (old[:1] != new[:1])
            for counter, names in (
                (had, old),
                (gets, new),
                (gained, set(new).difference(old)),
                (lost, set(old).difference(new)),
            ):
                for name in names:
                    counter[name] += images
        shown = sorted({*had, *self.names}, key=lambda name: (-gained[name] - lost[name], name))
        return {
            "images": self.images,
            "changed": changed,
            "changed_best": changed_best,
            "labels": [
                {
                    "name": name,
                    "before": had[name],
                    "after": gets[name],
                    "gained": gained[name],
                    "lost": lost[name],
                }
                for name in shown[:MAX_LABELS_SHOWN]
            ],
            "examples": [
                _example(image_id, before[image_id], tags)
                for image_id, tags in self.examples.items()
                if image_id in before  # it may have been deleted just now
            ],
        }


class _Naming(dict[bytes, Names]):
    """The names of a row of places (int32, -1: none), found once for all rows that are alike."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, row: bytes) -> Names:
        places = np.frombuffer(row, np.int32).tolist()
        self[row] = tuple(self._names[place] for place in places if place >= 0)
        return self[row]


@lru_cache(maxsize=10_000)
def _names_of(text: str) -> Names:
    """Return the names in a JSON list: many images have the same."""
    return tuple(json.loads(text))


def _example(image_id: UUID, before: ShownTags, after: Tags) -> dict[str, Any]:
    return {
        "image_id": str(image_id),
        "image_path": before.path,
        "before": _shown(before.tags),
        "after": _shown(after),
    }


def _shown(tags: Tags) -> list[dict[str, Any]]:
    return [{"tag": tag.tag, "score": tag.confidence} for tag in tags]
