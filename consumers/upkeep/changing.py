"""Changes to many images, made by upkeep step by step (`core.storage.deciding.changing`)."""

from dataclasses import dataclass

import structlog

from consumers.best_images import BestImages
from core.errors import RecordRefused, TransientError
from core.storage.deciding import changing, image_changes
from core.storage.deciding.changing import ChangeStep
from core.storage.deciding.image_changes import ImageChange
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
            TransientError: PostgreSQL is away or took too long, or an image was locked for too
                long; the change goes behind the others.
        """
        held: ImageChange | None = None
        try:
            async with self.database.transaction() as tx:
                await self.best.begin(tx)
                held = await image_changes.hold_next(tx)
                if held is None:
                    return False
                done = await changing.step(tx, held)
                if done.stored:
                    await self.best.offer(tx, done.stored)
        except RecordRefused as error:
            if held is None:
                raise
            await self._give_up(held, str(error))
        except TransientError:
            if held is not None:
                await self._postpone(held)
            raise
        else:
            _tell(done)
        return True

    async def _give_up(self, failed: ImageChange, error: str) -> None:
        """End a change of which PostgreSQL refuses what it writes. What it has done stays."""
        async with self.database.transaction() as tx:
            now = await image_changes.hold(tx, failed.change_id)
            if now is None or now.state != failed.state:  # it is being undone
                return
            await image_changes.end(tx, failed.change_id, error[:1000])
        log.error("images_not_changed", change_id=str(failed.change_id), error=error)

    async def _postpone(self, late: ImageChange) -> None:
        async with self.database.transaction() as tx:
            await image_changes.postpone(tx, late.change_id)


def _tell(done: ChangeStep) -> None:
    if done.state is not None:
        log.info(
            "images_changed",
            change_id=str(done.change.change_id),
            kind=done.change.kind,
            state=done.state,
            changed=done.change.changed,
            restored=done.change.restored,
        )
