"""What `images` does: announce a directory, and follow its images until they are tagged."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from pydantic import ValidationError
from rich.console import Console

from core.blobs.kinds import IMAGE_EXTENSIONS, wanted_extensions
from core.blobs.naming import RootedPath
from core.errors import ConfigurationError, DatabaseAway
from core.storage.archive import images
from core.storage.folders import jobs
from core.storage.pool import Pool
from photo_archive.display import RunDisplay, show_summary
from photo_archive.following import Follower, JobStanding
from producers.folders.announcing import Announcer
from producers.folders.directory import DirectoryRun, Refusal, Tally
from producers.images import Wishes
from producers.main import (
    is_reachable,
    locate,
    open_database,
    open_publisher,
    open_roots,
)
from producers.publishing import Patience
from schemas.image import ImageArrived
from schemas.topics import Lane

SOURCE = "/producers/images"
UNDELETE = "/producers/images/undelete"  # no scan: somebody wants these photos back


@dataclass(frozen=True, slots=True)
class ImagesOptions:
    """Options of `images`.

    Attributes:
        labels: separated by commas; None: the instance's.
        roots: `NAME=DIR` beside ARCHIVE_ROOTS.
        extensions: separated by commas; None: all that are supported.
        waits: follow the images until they are tagged.
        undelete: photos that were deleted over the API come back.
        lane: the way of the images.
        as_json: print the summary as JSON on standard output.
    """

    labels: str | None = None
    top_k: int | None = None
    roots: tuple[str, ...] = ()
    extensions: str | None = None
    waits: bool = True
    as_json: bool = False
    undelete: bool = False
    lane: Lane = Lane.BULK


@dataclass(frozen=True, slots=True)
class _Visit:
    """One run and its parts; `pool` is None where images are not followed."""

    run: DirectoryRun
    place: RootedPath
    console: Console
    pool: Pool | None

    async def announce(self) -> tuple[Tally, JobStanding | None]:
        job_id = uuid4()
        expected: list[int] = []  # set when publishing has ended
        with RunDisplay(self.console, follows=self.pool is not None) as display:
            following = self._start_following(job_id, expected, display)
            try:
                tally = await self.run.run(self.place, job_id, display.show_published)
                display.finish_publishing(tally)
                expected.append(tally.published)
                standing = await following if following else None
            finally:
                if following:
                    following.cancel()
        if self.pool is not None:
            tally.refusals.extend(await _failures(self.pool, job_id))
        return tally, standing

    def _start_following(
        self, job_id: UUID, expected: list[int], display: RunDisplay
    ) -> "asyncio.Task[JobStanding] | None":
        if self.pool is None:
            return None
        return asyncio.create_task(self._follow(self.pool, job_id, expected, display))

    async def _follow(
        self, pool: Pool, job_id: UUID, expected: list[int], display: RunDisplay
    ) -> JobStanding:
        counts = partial(images.job_counts, pool)
        follower = Follower(counts, sleep=asyncio.sleep, now=time.monotonic)
        return await follower.follow(
            job_id, lambda: expected[0] if expected else None, display.show_tagged, self._hint
        )

    def _hint(self) -> None:
        self.console.print(
            "No image was tagged for 30 s: does the tagging role run, and does it"
            " know this root (ARCHIVE_ROOTS)? Ctrl-C ends the waiting, not the tagging."
        )


async def announce_directory(directory: Path, options: ImagesOptions) -> int:
    """Announce a directory; follow its images where PostgreSQL can be reached.

    Returns:
        The exit code: 0, or 1 where a photo was not published or could not be tagged.

    Raises:
        ConfigurationError: an option or a setting cannot be worked with.
    """
    console = Console(stderr=True)
    roots = open_roots(options.roots)
    place, wishes, wanted = locate(roots, directory), _wishes(options), _wanted(options)
    async with open_publisher("producers-images") as publisher, open_database() as pool:
        follows = options.waits and await is_reachable(pool)
        if options.waits and not follows:
            console.print("PostgreSQL does not answer: publishing without waiting for the tags.")
        announcer = Announcer(publisher, UNDELETE if options.undelete else SOURCE, Patience())
        run = DirectoryRun(roots, announcer, wishes, wanted, options.lane)
        visit = _Visit(run, place, console, pool if follows else None)
        tally, standing = await visit.announce()
    show_summary(console, tally, standing, as_json=options.as_json)
    return int(bool(tally.refused or (standing and standing.failed)))


async def _failures(pool: Pool, job_id: UUID) -> list[Refusal]:
    """Return the images that could not be tagged; none where PostgreSQL is away."""
    try:
        failed = await jobs.failed_images(pool, job_id)
    except DatabaseAway:
        return []
    return [Refusal(image.path, image.reason, image.detail) for image in failed]


def _wishes(options: ImagesOptions) -> Wishes:
    names = None
    if options.labels is not None:
        names = tuple(filter(None, (name.strip() for name in options.labels.split(","))))
    try:
        ImageArrived(uri="file:root/name", labels=names, top_k=options.top_k)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ConfigurationError(f"--{problem['loc'][0]}: {problem['msg']}") from error
    return Wishes(labels=names, top_k=options.top_k)


def _wanted(options: ImagesOptions) -> frozenset[bytes]:
    if options.extensions is None:
        return IMAGE_EXTENSIONS
    try:
        return wanted_extensions(tuple(options.extensions.split(",")))
    except ValueError as error:
        raise ConfigurationError(f"--extensions: {error}") from error
