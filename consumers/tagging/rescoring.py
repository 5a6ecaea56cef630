"""Re-scores the archive with new labels, from embeddings alone.

A change of the labels raises their version. From that commit on no tags of older labels are written
(`labels.hold_version`), so the number of images with an older version only decreases; at zero the
work is done, whatever arrives meanwhile. Each image's tags change in one transaction, in the tables
that arrivals use: readers see the old or the new ones, never a mix.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from consumers.best_images import BestImages
from consumers.tagging.labelled_tagger import LabelledTagger
from consumers.tagging.teaching import Teaching
from core.errors import TransientError
from core.repeating import every
from core.storage import labels
from core.storage.archive import image_tags
from core.storage.scoring import rescoring
from core.storage.scoring.rescoring import StaleImage
from core.tags import TagRequest
from core.transaction import Database

log = structlog.get_logger(__name__)

IDLE_S = 1.0
LEASE_S = 30.0
# A transaction of 500 takes about 0.1 s, the longest that arrivals wait for the same rows.
IMAGES_PER_TRANSACTION = 500
# While one task waits for PostgreSQL another one scores.
AT_ONCE = 3
TRANSACTIONS_PER_STEP = 10


@dataclass(slots=True)
class Rescoring:
    """Re-scores until stopped; of several processes with the same model one at a time.

    Args:
        count: is called with how many images have new tags, for metrics.
    """

    database: Database
    tagger: LabelledTagger
    best: BestImages
    count: Callable[[int], object] = lambda _images: None
    name: str = field(default_factory=lambda: secrets.token_hex(8))

    async def run(self, stop: asyncio.Event) -> None:
        """Re-score what is to be re-scored, look again every second, until `stop` is set."""
        await every(self.step, IDLE_S, stop, postponed=_postponed)
        with suppress(TransientError):  # saves the next process the wait for the lease
            async with self.database.connection() as connection:
                await rescoring.release(connection, self.name)

    async def step(self) -> bool:
        """Re-score some images; False where none is left, or another one does it.

        Raises:
            TransientError: the database is away, or a lock was not to be had.
        """
        model = self.tagger.identity
        async with self.database.connection() as connection:
            version, _ = await labels.state(connection)
        if version and await Teaching(self.database, self.tagger.clip).is_ready(version):
            version = await self._begin_again(version)
        async with self.database.connection() as connection:
            if version == 0 or not await rescoring.is_needed(connection, model, version):
                return False
            if not await rescoring.lease(connection, model, version, self.name, LEASE_S):
                return False
        await self.tagger.refresh()
        rest = _Rest(self.database, model, version, TRANSACTIONS_PER_STEP)
        # Not a TaskGroup, which would wrap an outage in a group and cancel the others.
        tasks = (self._work_off(rest) for _ in range(AT_ONCE))
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if outcome is not None:
                raise outcome
        if rest.last is not None:
            return True
        async with self.database.connection() as connection:
            await rescoring.finish(connection, model, version, self.name)
        log.info("rescoring_finished", version=version, model=model)
        return False

    async def _begin_again(self, version: int) -> int:
        """Have all images scored again, as a label that photos teach waits no more."""
        async with self.database.transaction() as tx:
            in_force = await labels.lock_version(tx)
            if in_force != version:
                return in_force  # another process was first
            version = await labels.raise_version(tx)
        log.info("labels_taught_again", version=version)
        return version

    async def _work_off(self, rest: "_Rest") -> None:
        while batch := await rest.next():
            self.count(await self._rescore(batch, rest.model))

    async def _rescore(self, batch: Sequence[StaleImage], model: str) -> int:
        requests = [TagRequest(top_k=image.top_k) for image in batch]
        scored = await self.tagger.score([image.embedding for image in batch], requests)
        version = scored[0][1]
        new_tags = [(image, tags) for image, (tags, _) in zip(batch, scored, strict=True)]
        async with self.database.transaction() as tx:
            if await labels.hold_version(tx) != version:
                return 0  # the labels changed meanwhile, so these are scored again
            names = {tag.tag for _, tags in new_tags for tag in tags}
            await image_tags.lock(tx, [image.image_id for image in batch])
            label_ids = await labels.known(tx, names)
            await self.best.begin(tx)
            stored = await rescoring.write(
                tx,
                new_tags,
                model=model,
                version=version,
                label_ids=label_ids,
            )
            await self.best.offer(tx, stored)
            await rescoring.note(
                tx,
                model=model,
                version=version,
                keeper=self.name,
                rescored=len(batch),
                lease_s=LEASE_S,
            )
        return len(batch)


def _postponed(error: TransientError) -> None:
    log.info("rescoring_postponed", detail=str(error)[:200])


@dataclass(slots=True)
class _Rest:
    """What is left to be re-scored, in batches: each is given to one task.

    Attributes:
        batches: so many are given at most.
        last: the image given last; None where there was none.
    """

    database: Database
    model: str
    version: int
    batches: int
    last: StaleImage | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def next(self) -> list[StaleImage]:
        """Return the next batch, whether the ones before are written or not; empty at the end."""
        async with self._turn:
            if not self.batches:
                return []
            self.batches -= 1
            async with self.database.connection() as connection:
                batch = await rescoring.stale(
                    connection, self.model, self.version, IMAGES_PER_TRANSACTION, after=self.last
                )
            if batch:
                self.last = batch[-1]
            return batch
