"""Preview what other labels would change, on a sample of the archive; nothing is changed.

It runs beside the tagging role, since only that process has the model. Text features of a preview
stay in the model's cache, so that applying the labels later is fast.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from consumers.tagging.teaching import Teaching
from core.errors import TransientError
from core.repeating import every
from core.storage.scoring import label_previews
from core.storage.scoring.label_previews import Asked, SampledImage
from core.tags import TagScore
from core.transaction import Database
from core.vision.tagger import ClipTagger

log = structlog.get_logger(__name__)

IDLE_S = 0.5  # a client waits for the preview
LEASE_S = 120.0  # text features of thousands of labels take a minute on two cores
MAX_ATTEMPTS = 3  # labels that crash the process must not do so again and again
MAX_EXAMPLES = 12
MAX_LABELS_SHOWN = 1_000

Tags = tuple[TagScore, ...]


@dataclass(frozen=True, slots=True)
class Previewing:
    """Makes previews until stopped; several processes share the work."""

    database: Database
    clip: ClipTagger

    async def run(self, stop: asyncio.Event) -> None:
        """Make what is asked for, look again twice a second, until `stop` is set."""
        await every(self.step, IDLE_S, stop, postponed=_postponed)

    async def step(self) -> bool:
        """Make one preview; False where none is asked for.

        Raises:
            TransientError: something is away; the preview is taken again after its lease.
        """
        async with self.database.connection() as connection:
            asked = await label_previews.take(connection, LEASE_S)
        if asked is None:
            return False
        if asked.attempts > MAX_ATTEMPTS:
            error = f"given up: {MAX_ATTEMPTS} attempts came to no end"
            async with self.database.connection() as connection:
                await label_previews.fail(connection, asked.preview_id, error)
            log.warning("preview_failed", preview_id=str(asked.preview_id))
            return True
        outcome = await self._outcome(asked)
        async with self.database.connection() as connection:
            await label_previews.finish(connection, asked.preview_id, outcome)
        log.info("labels_previewed", labels=len(asked.labels), images=outcome["images"])
        return True

    async def _outcome(self, asked: Asked) -> dict[str, Any]:
        async with self.database.connection() as connection:
            images = await label_previews.sample(connection, self.clip.identity, asked.sample)
        after = await self.clip.score_under(
            asked.labels,
            [image.embedding for image in images],
            [image.top_k for image in images],
            await Teaching(self.database, self.clip).learn(asked.labels),
        )
        shown = [image.decided.shown(tags) for image, tags in zip(images, after, strict=True)]
        names = [label.name for label in asked.labels]
        return await asyncio.to_thread(compare, images, shown, names)


def _postponed(error: TransientError) -> None:
    log.info("preview_postponed", detail=str(error)[:200])


def compare(
    images: Sequence[SampledImage], after: Sequence[Tags], names: Sequence[str]
) -> dict[str, Any]:
    """Return what changes, as JSON: figures, per label, and examples with a new best tag first.

    Args:
        images: with their present tags.
        after: the tags they would get, in the same order.
        names: the labels that would be in force.
    """
    had, gets, gained, lost = (Counter[str]() for _ in range(4))
    changed: list[tuple[SampledImage, Tags]] = []
    for image, tags in zip(images, after, strict=True):
        old, new = {tag.tag for tag in image.tags}, {tag.tag for tag in tags}
        had.update(old)
        gets.update(new)
        gained.update(new - old)
        lost.update(old - new)
        if [tag.tag for tag in image.tags] != [tag.tag for tag in tags]:
            changed.append((image, tags))
    changed_best = [one for one in changed if _best(one[0].tags) != _best(one[1])]
    shown = sorted({*had, *names}, key=lambda name: (-gained[name] - lost[name], name))
    return {
        "images": len(images),
        "changed": len(changed),
        "changed_best": len(changed_best),
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
        "examples": [_example(*one) for one in (changed_best or changed)[:MAX_EXAMPLES]],
    }


def _best(tags: Tags) -> str | None:
    return tags[0].tag if tags else None


def _example(image: SampledImage, after: Tags) -> dict[str, Any]:
    return {
        "image_id": str(image.image_id),
        "image_path": image.path,
        "before": _shown(image.tags),
        "after": _shown(after),
    }


def _shown(tags: Tags) -> list[dict[str, Any]]:
    return [{"tag": tag.tag, "score": tag.confidence} for tag in tags]
