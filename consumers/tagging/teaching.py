"""What photos have taught of labels, for the labels in force and for those of a preview.

It is learnt once per version of the labels and model, and kept: all processes score by the same,
and an image that is scored again under the same labels gets the same tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from core.storage import labels
from core.storage.scoring import lessons
from core.storage.scoring.lessons import Examples
from core.tags import Label, Lesson
from core.transaction import Database, Transaction
from core.vision.tagger import ClipTagger
from core.vision.teaching import GROUND, LEAST_GROUND

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Teaching:
    """Has a model learn labels from their photos."""

    database: Database
    clip: ClipTagger

    async def lessons(self, given: Sequence[Label], version: int) -> dict[str, Lesson] | None:
        """Return what was learnt for a version of the labels, learning it where nobody has yet.

        Returns:
            None where the labels have changed meanwhile.
        """
        taught = {label.name for label in given if label.photos}
        model = self.clip.identity
        async with self.database.connection() as connection:
            # Also of labels whose last photo has been deleted since.
            known = await lessons.learnt(connection, model, version)
        if taught <= known.keys():
            return known
        fresh = await self.learn(given)
        async with self.database.transaction() as tx:
            if await labels.lock_version(tx) != version:
                return None
            known = await lessons.learnt(tx, model, version)
            if not taught <= known.keys():  # else another process was first: all go by its lessons
                await lessons.keep(tx, model, version, fresh)
                known = await lessons.learnt(tx, model, version)
        waiting = sum(lesson.direction is None for lesson in known.values())
        log.info("labels_learnt", version=version, labels=len(known), waiting=waiting)
        return known

    async def is_ready(self, version: int) -> bool:
        """Return whether a label that waits need wait no more: what it waited for is tagged."""
        model = self.clip.identity
        async with self.database.connection() as connection:
            ground: list[bytes] | None = None
            for photos in await lessons.awaiting(connection, model, version):
                examples = await lessons.examples(connection, model, photos)
                if examples.awaited or not examples.embeddings:
                    continue
                if ground is None:
                    ground = await lessons.ground(connection, model, GROUND)
                if len(_without(ground, list(examples.embeddings.values()))) >= LEAST_GROUND:
                    return True
        return False

    async def learn(self, given: Sequence[Label]) -> dict[str, Lesson]:
        """Return what photos teach of these labels now; nothing is kept."""
        taught = [label for label in given if label.photos]
        if not taught:
            return {}
        async with self.database.connection() as connection:
            examples = await self._examples(connection, taught)
            ground = await lessons.ground(connection, self.clip.identity, GROUND)
        photos = {
            label.name: [one for photo in label.photos if (one := examples.embeddings.get(photo))]
            for label in taught
        }
        others = {name: _without(ground, own) for name, own in photos.items()}
        learnt = await self.clip.learn(given, photos, others)
        return {label.name: _waiting(learnt[label.name], label, examples) for label in taught}

    async def _examples(self, connection: Transaction, taught: Sequence[Label]) -> Examples:
        photos = {photo for label in taught for photo in label.photos}
        return await lessons.examples(connection, self.clip.identity, photos)


def _without(ground: Sequence[bytes], own: Sequence[bytes]) -> list[bytes]:
    """Return the other photos: a label's own tell nothing of what is ordinary."""
    taken = set(own)
    return [one for one in ground if one not in taken]


def _waiting(lesson: Lesson, label: Label, examples: Examples) -> Lesson:
    """Return the lesson of a label; it waits while the model has still to tag photos of it."""
    missing = sum(photo in examples.awaited for photo in label.photos)
    if not missing:
        return lesson
    return replace(lesson, awaited=lesson.awaited + missing, direction=None)
