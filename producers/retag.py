"""Announcing known images again, chosen from the archive's rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from core.errors import TransientError
from producers.folders.announcing import Announcer, Photo
from producers.folders.directory import Tally
from producers.images import Origin

BATCH_IMAGES = 500


@dataclass(frozen=True, slots=True)
class Choice:
    """Which images; all that are set must hold.

    Attributes:
        only_failed: those whose last attempt failed.
        model: those tagged by this model.
        except_model: those not tagged by this model.
        with_own_labels: also those that were given their own labels, which an announcement
            without labels would replace by the default ones.
        limit: at most so many.
    """

    only_failed: bool = False
    model: str | None = None
    except_model: str | None = None
    with_own_labels: bool = False
    limit: int | None = None


class KnownImage(Protocol):
    """A row of the archive: `core.storage.archive.selection.ChosenImage`."""

    @property
    def image_id(self) -> UUID:
        """Its identity."""
        ...

    @property
    def uri(self) -> str:
        """Where the bytes are."""
        ...

    @property
    def path(self) -> str:
        """What people see."""
        ...

    @property
    def owner(self) -> str | None:
        """Owner of the key that uploaded it."""
        ...

    @property
    def arrived_at(self) -> datetime:
        """When it came, by PostgreSQL's clock."""
        ...


class Images(Protocol):
    """The archive's rows."""

    async def choose(
        self, choice: Choice, *, after: UUID | None, limit: int
    ) -> Sequence[KnownImage]:
        """Return images by ascending id from behind `after`.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        ...

    async def count(self, choice: Choice) -> int:
        """Return how many images `choose` would give, without the limit."""
        ...


@dataclass(frozen=True, slots=True)
class Retag:
    """Announces chosen images again."""

    images: Images
    announcer: Announcer

    async def run(self, choice: Choice, job_id: UUID, show: Callable[[Tally], None]) -> Tally:
        """Announce them; stops early where the broker stays away.

        Raises:
            DatabaseAway: PostgreSQL is away.
        """
        tally, after, left = Tally(), None, choice.limit
        while (left is None or left > 0) and not tally.is_cut_short:
            size = BATCH_IMAGES if left is None else min(left, BATCH_IMAGES)
            batch = await self.images.choose(choice, after=after, limit=size)
            if not batch:
                break
            after = batch[-1].image_id
            left = None if left is None else left - len(batch)
            await self._announce(batch, job_id, tally)
            show(tally)
        return tally

    async def _announce(self, batch: Sequence[KnownImage], job_id: UUID, tally: Tally) -> None:
        # One owner at a time: an announcement without its owner would take the image from them.
        # As old as the image itself: a deletion since, even one that commits only now, is younger.
        for owner in sorted({image.owner for image in batch}, key=str):
            theirs = [image for image in batch if image.owner == owner]
            problems = await self.announcer.announce(
                [Photo(it.uri, path=it.path, made_at=it.arrived_at) for it in theirs],
                origin=Origin(owner=owner, job_id=job_id),
            )
            for image, problem in zip(theirs, problems, strict=True):
                tally.add(image.path, problem)
            if any(isinstance(problem, TransientError) for problem in problems):
                return
