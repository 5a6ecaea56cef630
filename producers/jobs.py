"""Directory jobs: leased, resumable after any photo, noted after each acknowledged batch."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import structlog

from core.blobs.kinds import wanted_extensions
from core.blobs.naming import RootedPath, decode_name
from core.blobs.roots import Roots
from core.blobs.walking import FoundFile, Walk
from core.errors import PermanentError, TransientError
from core.repeating import every
from core.storage.folders import jobs
from core.storage.folders.jobs import DirectoryJob, Step
from core.telemetry.vitals import Vitals
from core.transaction import Transaction
from producers.folders.announcing import BATCH_PHOTOS, Announcer, Photo, in_batches
from producers.images import Origin, Wishes

log = structlog.get_logger(__name__)

COUNT_BATCH = 5000


@dataclass(frozen=True, slots=True)
class JobRunner:
    """Takes jobs one by one and announces their photos.

    A runner that dies between an acknowledgement and its note leaves one batch to be announced
    twice: the same images, tagged a second time.

    Attributes:
        lease_s: after how long a dead runner's job is taken over; extended while one lives.
        poll_s: between two looks for a job, and after an outage.
    """

    connection: Transaction
    roots: Roots
    announcer: Announcer
    lease_s: float = 60.0
    poll_s: float = 1.0
    batch: int = BATCH_PHOTOS
    vitals: Vitals = field(default_factory=lambda: Vitals("jobs"))

    async def run_until(self, stop: asyncio.Event) -> None:
        """Run jobs until `stop` is set; a running job is given back after its batch."""
        await every(lambda: self.run_next(stop), self.poll_s, stop, postponed=_postponed)

    async def run_next(self, stop: asyncio.Event) -> bool:
        """Run one job as far as it goes; False where none waits.

        Raises:
            TransientError: broker, database or root are away; the job was given back.
        """
        token = uuid4()
        self.vitals.moved()
        job = await jobs.lease(self.connection, token, self.lease_s)
        self.vitals.sees(0 if job is None else 1)
        if job is None:
            return False
        log.info("job_started", job_id=str(job.job_id), announced=job.announced)
        try:
            is_done = await self._run(job, token, stop)
        except PermanentError as error:
            await jobs.finish(self.connection, job.job_id, token, error=f"{error.reason}: {error}")
            log.warning("job_failed", job_id=str(job.job_id), reason=error.reason)
            return True
        except TransientError:
            await jobs.release(self.connection, job.job_id, token)
            raise
        if not is_done:
            await jobs.release(self.connection, job.job_id, token)
        log.info("job_finished" if is_done else "job_released", job_id=str(job.job_id))
        return True

    async def _run(self, job: DirectoryJob, token: UUID, stop: asyncio.Event) -> bool:
        place = RootedPath(job.root, decode_name(job.directory))
        wanted = _wanted(job)
        companions = [
            asyncio.create_task(self._count(job, place, wanted)),
            asyncio.create_task(self._keep_lease(job, token)),
        ]
        try:
            walk = Walk(self.roots, place, after=job.position, wanted=wanted)
            return await self._announce(job, token, walk, stop)
        finally:
            # The total is of use while the job runs; at its end it is known without counting.
            for companion in companions:
                companion.cancel()
            await asyncio.gather(*companions, return_exceptions=True)

    async def _keep_lease(self, job: DirectoryJob, token: UUID) -> None:
        """Extend the lease while the job runs: a listing may take longer than it lasts."""
        is_ours = True
        while is_ours:
            await asyncio.sleep(self.lease_s / 3)
            with suppress(TransientError):
                is_ours = await jobs.extend(self.connection, job.job_id, token, self.lease_s)

    async def _announce(
        self, job: DirectoryJob, token: UUID, walk: Walk, stop: asyncio.Event
    ) -> bool:
        """Announce the photos; return True where the job has ended, also where it was cancelled."""
        told: Counter[str] = Counter()
        position = job.position
        async for batch in in_batches(walk, self.batch):
            announced, refused = await self._announce_batch(job, batch)
            position = batch[-1].place.relative
            step = Step(position, announced, _new_skips(walk, told) + refused)
            self.vitals.moved(len(batch))
            if not await jobs.advance(self.connection, job.job_id, token, step, self.lease_s):
                log.info(
                    "job_lost", job_id=str(job.job_id)
                )  # cancelled, held, or the lease ran out
                return True
            if stop.is_set():
                return False
        last = Step(position, 0, _new_skips(walk, told))
        await jobs.advance(self.connection, job.job_id, token, last, self.lease_s)
        await jobs.finish(self.connection, job.job_id, token)
        return True

    async def _announce_batch(
        self, job: DirectoryJob, batch: list[FoundFile]
    ) -> tuple[int, Counter[str]]:
        problems = await self.announcer.announce(
            [Photo(found.place.uri) for found in batch],
            wishes=Wishes(labels=job.options.labels, top_k=job.options.top_k),
            origin=Origin(owner=job.owner, job_id=job.job_id),
        )
        refused: Counter[str] = Counter()
        for problem in problems:
            if isinstance(problem, TransientError):
                raise problem
            if problem is not None:
                refused[problem.reason] += 1
        return len(batch) - refused.total(), refused

    async def _count(self, job: DirectoryJob, place: RootedPath, wanted: frozenset[bytes]) -> None:
        if job.total is not None:
            return
        total = 0
        async for batch in in_batches(Walk(self.roots, place, wanted=wanted), COUNT_BATCH):
            total += len(batch)
        await jobs.set_total(self.connection, job.job_id, total)


def _wanted(job: DirectoryJob) -> frozenset[bytes]:
    try:
        return wanted_extensions(job.options.extensions)
    except ValueError as error:
        raise PermanentError(str(error), reason="extensions_not_supported") from error


def _new_skips(walk: Walk, told: Counter[str]) -> Counter[str]:
    """Return what was skipped since the last call, and add it to `told`."""
    now = Counter({reason.value: number for reason, number in walk.skipped.items()})
    fresh = now - told
    told.update(fresh)
    return fresh


def _postponed(error: TransientError) -> None:
    log.warning("job_postponed", error=str(error))
