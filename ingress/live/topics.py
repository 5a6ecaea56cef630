"""The topics of the stream: what each tells to whom. A look serves all listeners together."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from pydantic import BaseModel

from core.storage import labels
from core.storage.archive import images, statistics
from core.storage.archive.ownership import OPEN
from core.storage.delivery import inboxes
from core.storage.finding import changed
from core.storage.finding.changed import WatchedImage, WatchedQuery
from core.storage.folders import job_images, jobs
from core.storage.scoring import rescoring
from core.storage.scoring.rescoring import Progress
from core.storage.stream.changes import Changed, Kind
from core.transaction import Transaction
from ingress.live import judging
from ingress.live.listeners import Viewer
from ingress.live.watching import PipelineLook, top_targets
from ingress.models.jobs import ShownJob
from ingress.models.page.live import (
    LiveImage,
    LiveImages,
    LiveInboxes,
    LiveJobs,
    LiveLabels,
    LiveQueries,
    LiveQuery,
)
from ingress.models.page.pipeline import PipelineReport, ShownLettersOfReason
from ingress.reading.jobs import with_images
from ingress.reading.thumbs import version_of

#: Changes that one event lists.
MOST_CHANGES = 200
ENDED_WITHIN_S = 60.0
STATUSES = ("accepted", "tagged", "failed", "missing")

Told = Mapping[Viewer, BaseModel]


class StateTopic(Protocol):
    """A topic that tells how things are, whenever that has changed."""

    @property
    def name(self) -> str:
        """What listeners ask for."""
        ...

    @property
    def pause_s(self) -> float:
        """Least time between two looks."""
        ...

    async def look(self, connection: Transaction, viewers: Collection[Viewer]) -> Told:
        """Return how things are, for each viewer."""
        ...


class ChangeTopic(Protocol):
    """A topic that tells what has changed."""

    @property
    def name(self) -> str:
        """What listeners ask for."""
        ...

    @property
    def kind(self) -> Kind:
        """What is noted of it in table `changes`."""
        ...

    async def snapshot(
        self, connection: Transaction, viewers: Collection[Viewer], *, is_cut: bool
    ) -> Told:
        """Return the beginning for new viewers, or (`is_cut`) for those who missed something."""
        ...

    async def changes(
        self, connection: Transaction, looked: Changed, viewers: Collection[Viewer]
    ) -> Told:
        """Return what has changed for each viewer; those for whom nothing has are left out."""
        ...


@dataclass(slots=True)
class ImagesTopic:
    """Images that have changed, and how many there are in each status."""

    name: str = "images"
    kind: Kind = "image"
    _counted: dict[str | None, dict[str, int]] = field(default_factory=dict)

    async def snapshot(
        self, connection: Transaction, viewers: Collection[Viewer], *, is_cut: bool
    ) -> Told:
        """Return the counts."""
        counts = await self._counts(connection, viewers)
        return {
            viewer: LiveImages(changed=(), truncated=is_cut, statuses=counts[viewer.owner])
            for viewer in viewers
        }

    async def changes(
        self, connection: Transaction, looked: Changed, viewers: Collection[Viewer]
    ) -> Told:
        """Return what each viewer may see of the changes; all who see none but other counts too."""
        before = self._counted
        rows = await changed.images(connection, looked.ids.get(self.kind, ()))
        counts = await self._counts(connection, viewers)
        told = {}
        for viewer in viewers:
            news = _news(rows, looked, viewer)
            if news or looked.is_cut or counts[viewer.owner] != before.get(viewer.owner):
                told[viewer] = LiveImages(
                    changed=tuple(news[:MOST_CHANGES]),
                    truncated=looked.is_cut or len(news) > MOST_CHANGES,
                    statuses=counts[viewer.owner],
                )
        return told

    async def _counts(
        self, connection: Transaction, viewers: Collection[Viewer]
    ) -> dict[str | None, dict[str, int]]:
        found = await statistics.statuses(connection, {viewer.owner for viewer in viewers})
        counts = {
            owner: {status: of_owner.get(status, 0) for status in STATUSES}
            for owner, of_owner in found.items()
        }
        self._counted = self._counted | counts
        return counts


def _news(rows: Sequence[WatchedImage], looked: Changed, viewer: Viewer) -> list[LiveImage]:
    """Return the changes that a viewer sees; what the viewer saw till now comes as deleted."""
    seen = {row.image_id: _image(row) for row in rows if row.is_seen_by(viewer.owner)}
    gone = {
        image_id: LiveImage(image_id=image_id, status="deleted", tags=(), version=None)
        for image_id, audiences in looked.gone.items()
        if image_id not in seen and not audiences.isdisjoint((OPEN, viewer.owner))
    }
    return [*seen.values(), *gone.values()]


def _image(row: WatchedImage) -> LiveImage:
    return LiveImage.of(row, version=version_of(row.sha256))


@dataclass(slots=True)
class QueriesTopic:
    """Queries that have changed, with their webhooks."""

    name: str = "queries"
    kind: Kind = "query"

    async def snapshot(
        self, connection: Transaction, viewers: Collection[Viewer], *, is_cut: bool
    ) -> Told:
        """Return an empty list."""
        del connection
        return {viewer: LiveQueries(changed=(), truncated=is_cut) for viewer in viewers}

    async def changes(
        self, connection: Transaction, looked: Changed, viewers: Collection[Viewer]
    ) -> Told:
        """Return each viewer's own queries among them."""
        rows = await changed.queries(connection, looked.ids.get(self.kind, ()))
        told = {}
        for viewer in viewers:
            seen = [row for row in rows if row.is_seen_by(viewer.owner)]
            if seen or looked.is_cut:
                told[viewer] = LiveQueries(
                    changed=tuple(map(_query, seen[:MOST_CHANGES])),
                    truncated=looked.is_cut or len(seen) > MOST_CHANGES,
                )
        return told


def _query(row: WatchedQuery) -> LiveQuery:
    return LiveQuery.of(row)


@dataclass(frozen=True, slots=True)
class JobsTopic:
    """Jobs that go on or ended a moment ago; for who asks for one job, that one."""

    base_url: str
    name: str = "jobs"
    pause_s: float = 0.25

    async def look(self, connection: Transaction, viewers: Collection[Viewer]) -> Told:
        """Return the jobs that each viewer may see."""
        asked = {viewer.job_id for viewer in viewers if viewer.job_id is not None}
        shown = await shown_jobs(connection, self.base_url, asked)
        return {viewer: LiveJobs(jobs=_jobs_for(viewer, shown)) for viewer in viewers}


async def shown_jobs(
    connection: Transaction, base_url: str, job_ids: Collection[UUID] = ()
) -> list[tuple[str | None, ShownJob]]:
    """Return jobs that people watch, with their owners; the newest first."""
    found = await jobs.watched(connection, ENDED_WITHIN_S, job_ids)
    ids = [job.job_id for job in found]
    counts = await images.counts_of_jobs(connection, ids) if found else {}
    rates = await job_images.rates_per_s(connection, ids) if found else {}
    return with_images(found, counts, rates, base_url)


def _jobs_for(viewer: Viewer, shown: Sequence[tuple[str | None, ShownJob]]) -> tuple[ShownJob, ...]:
    return tuple(
        job
        for owner, job in shown
        if viewer.owner in (None, owner) and viewer.job_id in (None, job.job_id)
    )


@dataclass(frozen=True, slots=True)
class InboxTopic:
    """How many posts each inbox of the receiver in the box has had."""

    name: str = "inbox"
    pause_s: float = 0.25

    async def look(self, connection: Transaction, viewers: Collection[Viewer]) -> Told:
        """Return each viewer's own inboxes."""
        found = await inboxes.counts(connection)
        return {
            viewer: LiveInboxes(
                inboxes={
                    token: posts for owner, token, posts in found if viewer.owner in (None, owner)
                }
            )
            for viewer in viewers
        }


@dataclass(slots=True)
class LabelsTopic:
    """How far the archive has come with the labels in force."""

    name: str = "labels"
    pause_s: float = 1.0
    _counted: tuple[object, int] = (None, 0)

    async def look(self, connection: Transaction, viewers: Collection[Viewer]) -> Told:
        """Return the same for all."""
        version, _ = await labels.state(connection)
        begun = [one for one in await rescoring.progress(connection) if one.version == version]
        older = await self._older(connection, version, begun)
        shown = LiveLabels(
            version=version,
            is_done=older == 0,
            total=sum(one.total for one in begun),
            rescored=sum(one.rescored for one in begun),
            older=older,
        )
        return dict.fromkeys(viewers, shown)

    async def _older(self, connection: Transaction, version: int, begun: Sequence[Progress]) -> int:
        """Count again only where something was re-scored: of none the whole index is read."""
        state = (version, tuple((one.model, one.rescored, one.finished_at) for one in begun))
        if self._counted[0] != state:
            self._counted = state, await rescoring.count_older(connection, version)
        return self._counted[1]


@dataclass(frozen=True, slots=True)
class PipelineTopic:
    """The document of `GET /stats/pipeline`."""

    watch: Callable[[], Awaitable[PipelineLook]]
    base_url: str
    name: str = "pipeline"
    pause_s: float = 1.0

    async def look(self, connection: Transaction, viewers: Collection[Viewer]) -> Told:
        """Return the document for each viewer."""
        look = await self.watch()
        shown = await shown_jobs(connection, self.base_url)
        return {viewer: report(look, shown, viewer) for viewer in viewers}


def report(
    look: PipelineLook, shown: Sequence[tuple[str | None, ShownJob]], viewer: Viewer
) -> PipelineReport:
    """Return the pipeline as this viewer may see it."""
    facts = look.facts
    return PipelineReport(
        at=facts.at,
        stages=tuple(look.stages),
        processes=tuple(judging.processes(facts)),
        targets=top_targets(facts, viewer.owner),
        halted=tuple(judging.halted(facts)),
        dead_letters=tuple(ShownLettersOfReason.of(one) for one in facts.letters),
        jobs=tuple(job for job in _jobs_for(viewer, shown) if job.finished_at is None),
    )
