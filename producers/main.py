"""Where the producers' parts meet: Kafka, PostgreSQL, the allowed roots, the job runner."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from core.addresses import parse_roots
from core.blobs.naming import RootedPath
from core.blobs.roots import Roots
from core.errors import ConfigurationError, DatabaseAway
from core.messaging.kafka.producer import Publisher
from core.settings import (
    ArchiveSettings,
    ConsumerSettings,
    DatabaseSettings,
    KafkaSettings,
    load,
)
from core.storage.pool import Pool, open_pool
from core.telemetry.metrics import Metrics
from producers.beating import beating
from producers.folders.announcing import Announcer
from producers.jobs import JobRunner
from producers.publishing import Patience

APPLICATION = "photo-archive-producers"
JOB_PATIENCE = Patience(limit_s=20.0)  # well under a job's lease


@asynccontextmanager
async def open_publisher(client_id: str) -> AsyncIterator[Publisher]:
    """Yield Kafka, connected when first needed.

    Raises:
        ConfigurationError: a KAFKA_ variable cannot be worked with.
    """
    metrics = Metrics(CollectorRegistry())
    async with Publisher(load(KafkaSettings), metrics, client_id=client_id) as publisher:
        yield publisher


@asynccontextmanager
async def open_database() -> AsyncIterator[Pool]:
    """Yield PostgreSQL, connected when first needed.

    Raises:
        ConfigurationError: a DATABASE_ variable cannot be worked with.
    """
    async with open_pool(load(DatabaseSettings), application=APPLICATION) as pool:
        yield pool


async def is_reachable(pool: Pool) -> bool:
    """Return whether PostgreSQL answers and has our schema."""
    try:
        return bool(await pool.fetchval("SELECT to_regclass('images') IS NOT NULL"))
    except DatabaseAway:
        return False


def open_roots(extra: Sequence[str] = ()) -> Roots:
    """Return the roots of ARCHIVE_ROOTS and those of `--root NAME=DIR`.

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


def locate(roots: Roots, directory: Path) -> RootedPath:
    """Return the place of a directory of this host.

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
            " All processes must be allowed to read there: start them with NAME=DIR in"
            " ARCHIVE_ROOTS (make demo PHOTOS=DIR does so). --root NAME=DIR is for a root that the"
            " consumers know already"
        )
    return place


@asynccontextmanager
async def stop_on_signals() -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGINT and SIGTERM set; a second signal ends the process as usual."""
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


async def run_jobs(roots: Sequence[str], *, until_empty: bool) -> int:
    """Run directory jobs until a signal comes, or until none waits; return the exit code."""
    async with (
        open_publisher("producers-jobs") as publisher,
        open_database() as pool,
        stop_on_signals() as stop,
        beating(pool, "jobs", load(ConsumerSettings).instance or "0") as vitals,
    ):
        announcer = Announcer(publisher, "/producers/jobs", JOB_PATIENCE)
        runner = JobRunner(pool, open_roots(roots), announcer, vitals=vitals)
        if not until_empty:
            await runner.run_until(stop)
        while until_empty and not stop.is_set() and await runner.run_next(stop):
            pass
    return 0
