"""Changes to many images, made by upkeep step by step (`core.storage.deciding.changing`)."""

from dataclasses import dataclass

import structlog

from consumers.best_images import BestImages
from core.errors import RecordRefused
from core.storage.deciding import changing, image_changes
from core.transaction import Database

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ImageChanging:
    """Makes steps of changes, of each that is open in turn."""

    database: Database
    best: BestImages

    async def step(self) -> bool:
        """Make a step; return False where there is nothing to do.

        Raises:
            TransientError: PostgreSQL is away, or an image was locked for too long.
        """
        try:
            done = await self._step()
        except RecordRefused as error:
            return await self._give_up(str(error))
        if done is None:
            return False
        if done.state is not None:
            log.info(
                "images_changed",
                change_id=str(done.change.change_id),
                kind=done.change.kind,
                state=done.state,
                changed=done.change.changed,
                restored=done.change.restored,
            )
        return True

    async def _step(self) -> changing.ChangeStep | None:
        async with self.database.transaction() as tx:
            await self.best.begin(tx)
            done = await changing.step(tx)
            if done is not None and done.stored:
                await self.best.offer(tx, done.stored)
            return done

    async def _give_up(self, error: str) -> bool:
        """End the change whose turn it is: what it writes is refused. What it has done stays."""
        async with self.database.transaction() as tx:
            change = await image_changes.hold_next(tx)
            if change is None:
                return False
            await image_changes.end(tx, change.change_id, error[:1000])
        log.error("images_not_changed", change_id=str(change.change_id), error=error)
        return True
