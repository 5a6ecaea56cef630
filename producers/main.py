"""Where the producers' parts meet: Kafka, PostgreSQL, the allowed roots."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from prometheus_client import CollectorRegistry

from core.blobs.naming import Place
from core.blobs.roots import Roots
from core.errors import ConfigurationError, DatabaseAway
from core.messaging.kafka.producer import Publisher
from core.settings import (
    ArchiveSettings,
    DatabaseSettings,
    KafkaSettings,
    load,
    parse_roots,
)
from core.storage.archive import images, jobs, watched_files
from core.storage.archive.jobs import DirectoryJob, Step
from core.storage.archive.watched_files import WatchedFile
from core.storage.pool import Pool, open_pool
from core.telemetry.metrics import Metrics
from producers.folders.directory import Refusal

APPLICATION = "photo-archive-producers"


@asynccontextmanager
async def open_publisher(client_id: str) -> AsyncIterator[Publisher]:
    """Kafka, connected when first needed.

    Raises:
        ConfigurationError: a KAFKA_ variable cannot be worked with.
    """
    metrics = Metrics(CollectorRegistry())
    async with Publisher(load(KafkaSettings), metrics, client_id=client_id) as publisher:
        yield publisher


@asynccontextmanager
async def open_database() -> AsyncIterator[Pool]:
    """PostgreSQL, connected when first needed.

    Raises:
        ConfigurationError: a DATABASE_ variable cannot be worked with.
    """
    async with open_pool(load(DatabaseSettings), application=APPLICATION) as pool:
        yield pool


async def is_reachable(pool: Pool) -> bool:
    """PostgreSQL answers, and its schema is there."""
    try:
        return bool(await pool.fetchval("SELECT to_regclass('images') IS NOT NULL"))
    except DatabaseAway:
        return False


def open_roots(extra: Sequence[str] = ()) -> Roots:
    """The roots of ARCHIVE_ROOTS, and those of `--root NAME=DIR`.

    Raises:
        ConfigurationError: a part is not NAME=DIR, or a name stands twice.
    """
    paths = load(ArchiveSettings).root_paths()
    for text in extra:
        name, _, path = text.partition("=")
        try:
            given = parse_roots(f"{name}={Path(path).expanduser().absolute()}" if path else text)
        except ValueError as error:
            raise ConfigurationError(f"--root: {error}") from error
        if name in paths and paths[name].resolve() != given[name].resolve():
            raise ConfigurationError(f"--root: {name!r} is {paths[name]} in ARCHIVE_ROOTS")
        paths |= given
    return Roots(paths)


def locate(roots: Roots, directory: Path) -> Place:
    """The place of a directory of this host.

    Raises:
        ConfigurationError: it is no directory, or under no root; says what to set.
    """
    if not directory.expanduser().is_dir():
        raise ConfigurationError(f"{os.fspath(directory)!r} is no directory")
    place = roots.place_of(directory.expanduser())
    if place is None:
        known = ", ".join(f"{name}={roots.path_of(name)}" for name in roots.names) or "none"
        raise ConfigurationError(
            f"{os.fspath(directory)!r} is under no allowed root (ARCHIVE_ROOTS: {known})."
            " Add NAME=DIR to ARCHIVE_ROOTS for all processes, or, where the consumers know the"
            " root already, give --root NAME=DIR"
        )
    return place


@asynccontextmanager
async def stop_on_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; a second signal ends the process as usual."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def ask() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, ask)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


class PostgresArchive:
    """What became of a run's images (`producers.commands.following.Archive`)."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def counts(self, job_id: UUID) -> Mapping[str, int]:
        """Return how many images are in each status."""
        return await images.job_counts(self._pool, job_id)

    async def failures(self, job_id: UUID) -> list[Refusal]:
        """Return the images that could not be tagged; none where PostgreSQL is away."""
        try:
            failed = await jobs.failed_images(self._pool, job_id)
        except DatabaseAway:
            return []
        return [Refusal(image.path, image.reason, image.detail) for image in failed]


class PostgresJobs:
    """Directory jobs (`producers.jobs.JobTable`)."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def lease(self, token: UUID, lease_s: float) -> DirectoryJob | None:
        """Take a job that nobody runs, or None."""
        return await jobs.lease(self._pool, token, lease_s)

    async def advance(self, job_id: UUID, token: UUID, step: Step, lease_s: float) -> bool:
        """Note progress, keep the lease; False where the job is not this runner's any more."""
        return await jobs.advance(self._pool, job_id, token, step, lease_s)

    async def extend(self, job_id: UUID, token: UUID, lease_s: float) -> bool:
        """Keep the lease; False where the job is not this runner's any more."""
        return await jobs.extend(self._pool, job_id, token, lease_s)

    async def set_total(self, job_id: UUID, total: int) -> None:
        """Note how many photos there are."""
        await jobs.set_total(self._pool, job_id, total)

    async def finish(self, job_id: UUID, token: UUID, *, error: str | None = None) -> bool:
        """End the job; False where it is not this runner's any more."""
        return await jobs.finish(self._pool, job_id, token, error=error)

    async def release(self, job_id: UUID, token: UUID) -> None:
        """Return the job back unfinished."""
        await jobs.release(self._pool, job_id, token)


class PostgresLedger:
    """The ledger of the filesystem bridge (`producers.folders.intake.Ledger`)."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def between(
        self, root: str, after: bytes, upto: bytes | None, limit: int
    ) -> Sequence[WatchedFile]:
        """Return files behind `after`, up to and with `upto`, in byte order of their paths."""
        return await watched_files.between(self._pool, root, after, upto, limit)

    async def many(self, root: str, paths: Sequence[bytes]) -> dict[bytes, WatchedFile]:
        """Return what is known of these files."""
        return await watched_files.many(self._pool, root, paths)

    async def record(self, files: Sequence[WatchedFile]) -> None:
        """Write what was done about files."""
        await watched_files.record(self._pool, files)

    async def mark_missing(self, root: str, paths: Sequence[bytes]) -> int:
        """Note that files are gone, and take their images out of the answers."""
        async with self._pool.transaction() as tx:
            return await watched_files.mark_missing(tx, root, paths)

    async def give_another_try(self, root: str, attempts: int) -> None:
        """Let quarantined files be tried again."""
        await watched_files.give_another_try(self._pool, root, attempts)
