"""Labels as scoring takes them: the vectors of their words, and what photos teach of them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from core.tags import Label, Lesson
from core.vision import scoring, teaching
from core.vision.ports import ImageModel

NO_LESSONS: Mapping[str, Lesson] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LabelSide:
    """Makes vectors of labels.

    Attributes:
        templates: prompts for labels without their own.
        background: prompts that `threshold` compares with.
    """

    model: ImageModel
    templates: tuple[str, ...]
    background: tuple[str, ...]

    async def encode(
        self, labels: Sequence[Label], lessons: Mapping[str, Lesson]
    ) -> scoring.TextSide:
        """Return the labels with what photos have taught of them, by name."""
        background = [Label(prompt, templates=("{}",)) for prompt in self.background]
        rows = await self.model.text_features([*labels, *background], self.templates)
        vectors = rows.astype(np.float64)
        own = [np.nan if label.threshold is None else label.threshold for label in labels]
        offsets = np.zeros(len(labels))
        for at, label in enumerate(labels):
            lesson = lessons.get(label.name)
            if lesson is not None or not label.by_words:
                vectors[at], offsets[at] = teaching.join(
                    vectors[at], lesson, by_words=label.by_words
                )
        return scoring.TextSide(
            names=tuple(label.name for label in labels),
            vectors=vectors[: len(labels)],
            background=vectors[len(labels) :],
            thresholds=np.array(own, np.float64),
            offsets=offsets,
        )

    async def learn(
        self,
        labels: Sequence[Label],
        photos: Mapping[str, Sequence[bytes]],
        ground: Mapping[str, Sequence[bytes]],
    ) -> dict[str, Lesson]:
        """Return what photos teach of labels, by name.

        Args:
            labels: all that are in force, or would be.
            photos: embeddings of the photos of each label that has some.
            ground: embeddings of other photos of the archive, for the same labels.
        """
        rows = await self.model.text_features(labels, self.templates)
        texts = rows.astype(np.float64)
        return {
            name: await asyncio.to_thread(teaching.teach, own, ground[name], texts)
            for name, own in photos.items()
        }
