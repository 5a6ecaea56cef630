"""Repair of the table of best images: holes, images that somebody else changed, a whole rebuild.

Images are read without a lock. The few that may win are read again and offered under the lock that
keeps writers away, a few milliseconds at a time. What may be missing meanwhile is recorded in
`combo_work` (or in `combo_state.ready`), so that the queries which it concerns ask the images.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from consumers.best_images import offer, withdraw
from core.errors import TransientError
from core.relevance.combos import MAX_SIZE, can_win, key_of, single_keys, subset_limit
from core.relevance.ranking import Rank, ScoredImage
from core.storage.best import combo_repair, combos
from core.storage.best.combo_repair import ListedImage, Needed
from core.transaction import Database, Transaction

log = structlog.get_logger(__name__)

LOCK_TIMEOUT_S = 0.5  # writers queue behind a repair that waits for the lock
IMAGES_PER_STEP = 2_000
OFFERS_PER_LOCK = 200
SETS_PER_STEP = 50
REBUILD_FROM = 50_000  # holes or pieces of work: a rebuild of 1 M images takes under a minute


@dataclass(frozen=True, slots=True)
class BestImagesRepair:
    """Repairs step by step. Two processes that repair at once do no harm, but the work twice.

    Args:
        is_softmax: as for `BestImages`.
    """

    database: Database
    is_softmax: bool

    async def is_needed(self, connection: Transaction) -> bool:
        """Return whether there is anything to repair."""
        return (await combo_repair.needed(connection)).anything

    async def step(self) -> bool:
        """Do a part of what there is to do; return False where there is nothing.

        Raises:
            TransientError: the database is away, or writers held a lock for too long.
        """
        async with self.database.connection() as connection:
            needed = await combo_repair.needed(connection)
            if needed.ready and await combo_repair.is_too_much(connection, REBUILD_FROM):
                await combo_repair.forget(connection)
                return True
        return await self._repair(needed)

    async def _repair(self, needed: Needed) -> bool:
        if not needed.ready:
            await self._rebuild(needed.rebuilt_to)
        elif needed.images:
            await self._take_changed_images()
        elif needed.sets:
            await self._take_sets()
        elif needed.holes:
            async with self._alone() as tx:
                await combos.lock_rows(tx)
                await combo_repair.prune(tx)
                await combo_repair.open_holes(tx, SETS_PER_STEP)
        else:
            return False
        return True

    async def _rebuild(self, rebuilt_to: int) -> None:
        if rebuilt_to == 0:
            async with self._alone() as tx:
                await combos.lock_rows(tx)
                await combo_repair.start_rebuild(tx, MAX_SIZE)
            log.info("combo_rebuild_started")
            return
        async with self.database.connection() as connection:
            images = await combo_repair.images_from(connection, rebuilt_to, IMAGES_PER_STEP)
            chosen = await self._hopeful(connection, images)
            if not images:
                await combo_repair.finish_rebuild(connection)
                log.info("combo_rebuild_finished")
                return
        async with self._alone() as tx:
            await self._offer(tx, chosen)
            await combo_repair.rebuilt(tx, images[-1].image_id + 1)

    async def _take_changed_images(self) -> None:
        async with self._alone() as tx:
            work = await combo_repair.changed_images(tx, OFFERS_PER_LOCK)
            ids = sorted({image_id for _, image_id in work})
            images = [_scored(image) for image in await combo_repair.scores(tx, ids)]
            await withdraw(tx, ids, images)
            await self._offer(tx, [image.image_id for image in images])
            await combo_repair.done(tx, [work_id for work_id, _ in work])

    async def _take_sets(self) -> None:
        async with self.database.connection() as connection:
            work = await combo_repair.sets(connection, SETS_PER_STEP)
        hopeful: dict[int, None] = {}
        for _, label_ids in work:
            async for chosen in self._carriers(label_ids):
                hopeful |= dict.fromkeys(chosen)
                if len(hopeful) >= OFFERS_PER_LOCK:
                    await self._offer_alone(list(hopeful))
                    hopeful.clear()
        await self._offer_alone(list(hopeful))
        async with self.database.connection() as connection:
            await combo_repair.done(connection, [work_id for work_id, _ in work])

    async def _carriers(self, label_ids: Sequence[int]) -> AsyncIterator[list[int]]:
        """Yield images with the whole set that may win, by portions of the rarest label's list."""
        key, after = key_of(label_ids), combo_repair.TOP
        async with self.database.connection() as connection:
            label_id = await combo_repair.rarest(connection, label_ids)
        while True:
            async with self.database.connection() as connection:
                row = (await combos.read(connection, [key])).get(key)
                found = await combo_repair.carriers(
                    connection,
                    label_id=label_id,
                    label_ids=label_ids,
                    after=after,
                    # An image that does not beat the set's own row wins no larger set either.
                    least_total=0 if row is None else row[0],
                    limit=IMAGES_PER_STEP,
                )
                chosen = await self._hopeful(connection, found.images)
            yield chosen
            if found.after is None:
                return
            after = found.after

    async def _hopeful(self, connection: Transaction, images: Sequence[ListedImage]) -> list[int]:
        """Return the images that may win some set, best first. Safe without a lock.

        An image that is tagged again meanwhile is offered by the transaction that does so. If a row
        that excludes an image here becomes a hole later, the repair of that hole looks at the image
        again.
        """
        scored = [_scored(image) for image in images]
        stored = await combos.read(connection, single_keys(scored))
        rows = {key: None if row is None else Rank(*row) for key, row in stored.items()}
        return await asyncio.to_thread(
            lambda: [image.image_id for image in scored if can_win(image, rows)]
        )

    async def _offer_alone(self, image_ids: Sequence[int]) -> None:
        if image_ids:
            async with self._alone() as tx:
                await self._offer(tx, image_ids)

    async def _offer(self, tx: Transaction, image_ids: Iterable[int]) -> None:
        ids = list(image_ids)
        for start in range(0, len(ids), OFFERS_PER_LOCK):
            batch = await combo_repair.scores(tx, ids[start : start + OFFERS_PER_LOCK])
            images = [_scored(image) for image in batch]
            limit = await combo_repair.limit(tx)
            sizes = [
                subset_limit(len(image.scores), is_softmax=self.is_softmax) for image in images
            ]
            await offer(tx, images, limit=limit, fitting=min([limit, *sizes]))

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Transaction]:
        async with self.database.transaction() as tx:
            await combo_repair.hurry(tx, LOCK_TIMEOUT_S)
            await combos.alone(tx)
            yield tx


def postponed(error: TransientError) -> None:
    """Log why a step of the repair did not come to its end."""
    log.info("combo_repair_postponed", detail=str(error)[:200])


def _scored(image: ListedImage) -> ScoredImage:
    return ScoredImage(image.image_id, image.ts, image.scores)
