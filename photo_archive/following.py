"""Follow what becomes of a job's images, in PostgreSQL."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from core.errors import DatabaseAway

#: Statuses of images that could not be tagged.
FAILED = ("failed", "missing")


@dataclass(frozen=True, slots=True)
class JobStanding:
    """The progress of a run's images.

    Attributes:
        is_known: False while PostgreSQL does not answer.
        deleted: photos that somebody deleted, which a scan does not bring back.
    """

    tagged: int = 0
    failed: int = 0
    is_known: bool = True
    deleted: int = 0

    @property
    def finished(self) -> int:
        """Return the number of images of which nothing more is to come."""
        return self.tagged + self.failed + self.deleted


@dataclass(frozen=True, slots=True)
class Follower:
    """Polls until all images of a run are settled.

    Attributes:
        counts: gives how many images of a job are in each status; raises `DatabaseAway`.
        poll_s: seconds between two looks.
        stall_s: seconds without any progress after which `on_stall` is told, once.
    """

    counts: Callable[[UUID], Awaitable[Mapping[str, int]]]
    sleep: Callable[[float], Awaitable[None]]
    now: Callable[[], float]
    poll_s: float = 0.5
    stall_s: float = 30.0

    async def follow(
        self,
        job_id: UUID,
        expected: Callable[[], int | None],
        show: Callable[[JobStanding], None],
        on_stall: Callable[[], None],
    ) -> JobStanding:
        """Show the standing until as many images are settled as `expected` says.

        `expected` gives None while more are being announced.
        """
        moved_at, last, told = self.now(), 0, False
        while True:
            standing = await self._look(job_id)
            show(standing)
            wanted = expected()
            if wanted is not None and standing.is_known and standing.finished >= wanted:
                return standing
            if standing.finished != last:
                moved_at, last, told = self.now(), standing.finished, False
            elif not told and self.now() - moved_at >= self.stall_s:
                told = True
                on_stall()
            await self.sleep(self.poll_s)

    async def _look(self, job_id: UUID) -> JobStanding:
        try:
            counts = await self.counts(job_id)
        except DatabaseAway:
            return JobStanding(is_known=False)
        return JobStanding(
            tagged=counts.get("tagged", 0),
            failed=sum(counts.get(status, 0) for status in FAILED),
            deleted=counts.get("deleted", 0),
        )
