"""Announcing known images again, chosen from the archive's rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from core.storage.archive import selection
from core.storage.archive.selection import Choice, ChosenImage
from core.transaction import Transaction
from producers.folders.announcing import Announcer, Photo
from producers.folders.directory import Tally
from producers.images import Origin

BATCH_IMAGES = 500
MOMENT = timedelta(microseconds=1)  # the least step of PostgreSQL's time


@dataclass(frozen=True, slots=True)
class Retag:
    """Announces chosen images again."""

    connection: Transaction
    announcer: Announcer

    async def run(
        self, choice: Choice, limit: int | None, job_id: UUID, show: Callable[[Tally], None]
    ) -> Tally:
        """Announce the images of a choice; stop early where the broker stays away.

        Args:
            choice: which images.
            limit: at most so many; None: all of them.
            job_id: what the events name as their job.
            show: called with the tally after each batch.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        tally, left = Tally(), limit
        after: ChosenImage | None = None
        while (left is None or left > 0) and not tally.is_cut_short:
            size = BATCH_IMAGES if left is None else min(left, BATCH_IMAGES)
            batch = await selection.choose(self.connection, choice, after=after, limit=size)
            if not batch:
                break
            after = batch[-1]
            left = None if left is None else left - len(batch)
            await self._announce(batch, job_id, tally)
            show(tally)
        return tally

    async def _announce(self, batch: Sequence[ChosenImage], job_id: UUID, tally: Tally) -> None:
        # The event is just younger than what it repeats, so that whatever happened since then is
        # the younger of the two: another arrival, or a deletion, even one that commits only now.
        # It names no owner: whose an image is stays.
        problems = await self.announcer.announce(
            [Photo(it.uri, path=it.path, made_at=it.last_at + MOMENT) for it in batch],
            origin=Origin(job_id=job_id),
        )
        for image, problem in zip(batch, problems, strict=True):
            tally.add(image.path, problem)
