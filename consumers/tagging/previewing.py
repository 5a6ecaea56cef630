"""Preview what other labels would change, on a sample of the archive; nothing is changed.

It runs beside the tagging role, since only that process has the model. Text features of a preview
stay in the model's cache, so that applying the labels later is fast.
"""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from consumers.tagging.preview_tally import PreviewTally
from consumers.tagging.teaching import Teaching
from core.errors import TransientError
from core.repeating import every
from core.storage.scoring import label_previews
from core.storage.scoring.label_previews import NOTHING_DRAWN, Asked, SampledImages
from core.transaction import Database
from core.vision.tagger import ClipTagger

log = structlog.get_logger(__name__)

IDLE_S = 0.5  # a client waits for the preview
LEASE_S = 120.0  # text features of thousands of labels take a minute on two cores
MAX_ATTEMPTS = 3  # labels that crash the process must not do so again and again
IMAGES_PER_PORTION = 10_000
SCORES_PER_PORTION = 4_000_000  # of float64: 32 MB


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
        lessons = await Teaching(self.database, self.clip).learn(asked.labels)
        score = await self.clip.scorer_under(asked.labels, lessons)
        tally = PreviewTally([label.name for label in asked.labels], score)
        portion = max(1, min(IMAGES_PER_PORTION, SCORES_PER_PORTION // len(asked.labels)))
        drawn, after, left = NOTHING_DRAWN, None, asked.sample
        # One portion is scored while the next one is read.
        while left > 0:
            size = min(portion, left)
            left -= size
            # Not a TaskGroup, which would wrap an outage in a group.
            (drawn, after), _ = await asyncio.gather(
                self._read(size, after), asyncio.to_thread(tally.add, drawn)
            )
            if after is None:
                break
        await asyncio.to_thread(tally.add, drawn)
        async with self.database.connection() as connection:
            before = await label_previews.shown(connection, list(tally.examples))
        return tally.outcome(before)

    async def _read(self, size: int, after: UUID | None) -> tuple[SampledImages, UUID | None]:
        async with self.database.connection() as connection:
            last = await label_previews.last_of(connection, size, after)
            model = self.clip.identity
            return await label_previews.sample(connection, model, size, after), last


def _postponed(error: TransientError) -> None:
    log.info("preview_postponed", detail=str(error)[:200])
