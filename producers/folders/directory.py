"""One run over a directory: every photo in it is announced once."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from core.blobs.kinds import IMAGE_EXTENSIONS
from core.blobs.naming import RootedPath
from core.blobs.roots import Roots
from core.blobs.walking import Walk
from core.errors import TransientError
from producers.folders.announcing import Announcer, Photo, Problem, in_batches
from producers.images import Origin, Wishes
from schemas.topics import Lane

MAX_NAMED = 1000  # failures kept by name; beyond, only their number


@dataclass(frozen=True, slots=True)
class Refusal:
    """A photo that could not be announced, or not be tagged, and why."""

    path: str
    reason: str
    detail: str


@dataclass(slots=True)
class Tally:
    """What a run has done so far.

    Attributes:
        skipped: files and directories passed over, by reason.
        refusals: photos that Kafka does not have, at most 1,000 of them; `refused` counts all.
        is_cut_short: the broker stayed away, so the rest was not tried.
    """

    published: int = 0
    refused: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    refusals: list[Refusal] = field(default_factory=list)
    is_cut_short: bool = False

    def add(self, path: str, problem: Problem) -> None:
        """Count one outcome."""
        if problem is None:
            self.published += 1
            return
        self.refused += 1
        self.is_cut_short |= isinstance(problem, TransientError)
        if len(self.refusals) < MAX_NAMED:
            reason = "broker_away" if isinstance(problem, TransientError) else problem.reason
            self.refusals.append(Refusal(path, reason, str(problem)))


@dataclass(frozen=True, slots=True)
class DirectoryRun:
    """Announces a directory. It may be run again at any time: same files, same images.

    Attributes:
        wanted: extensions, lower case, without the point.
        lane: the way of its photos.
    """

    roots: Roots
    announcer: Announcer
    wishes: Wishes = field(default_factory=Wishes)
    wanted: frozenset[bytes] = IMAGE_EXTENSIONS
    lane: Lane = Lane.BULK

    async def run(self, place: RootedPath, job_id: UUID, show: Callable[[Tally], None]) -> Tally:
        """Announce all photos below `place`, in the byte order of their paths.

        Raises:
            ImageMissing: `place` is no directory that can be reached without a link.
            BlobStoreAway: the root is not there.
        """
        walk = Walk(self.roots, place, wanted=self.wanted)
        tally = Tally()
        async for batch in in_batches(walk):
            photos = [Photo(found.place.uri) for found in batch]
            problems = await self.announcer.announce(
                photos, wishes=self.wishes, origin=Origin(job_id=job_id), lane=self.lane
            )
            for found, problem in zip(batch, problems, strict=True):
                tally.add(found.place.image_path, problem)
            tally.skipped = Counter({reason.value: n for reason, n in walk.skipped.items()})
            show(tally)
            if tally.is_cut_short:
                return tally
        tally.skipped = Counter({reason.value: n for reason, n in walk.skipped.items()})
        return tally
