"""Our tagging process as in production: arrivals on Kafka, photos on disk, tags in PostgreSQL."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
from prometheus_client import CollectorRegistry

from core.messaging.cloudevents import encode
from core.messaging.kafka.producer import Publisher
from core.settings import KafkaSettings, StandaloneSettings
from core.telemetry.metrics import Metrics
from schemas.image import ImageArrived
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED
from standalone.supervision.planning import allow, make_plan
from standalone.supervision.supervisor import Supervisor

ROOT = "bench"
PATIENCE_S = 300.0  # limit for the first photo: an int8 model may have to be made first
POLL_S = 0.02
_DONE = "SELECT count(*) FROM images WHERE status = 'tagged'"
# Otherwise the second repetition would find every embedding stored and encode nothing.
_FORGET = "TRUNCATE images, embeddings CASCADE"


@dataclass(frozen=True, slots=True)
class TaggingArchive:
    """A broker, a database and one tagging process.

    Args:
        folder: the allowed root that photos lie under.
        topic_prefix: prefix of its topics, since several tagging processes share a broker.
    """

    folder: Path
    bootstrap: str
    database_url: str
    topic_prefix: str

    async def tag(self, files: Sequence[Path]) -> float:
        """Return the seconds from the first event until the last photo has its tags."""
        database = await asyncpg.connect(self.database_url)
        settings = KafkaSettings(bootstrap_servers=self.bootstrap, topic_prefix=self.topic_prefix)
        metrics = Metrics(CollectorRegistry())
        try:
            await database.execute(_FORGET)
            records = [self._arrival(file) for file in files]
            async with Publisher(settings, metrics, client_id="bench") as publisher:
                sent = await publisher.publish(records[:1])  # connecting is not timed
                began = time.monotonic()
                sent += await publisher.publish(records[1:])
                for outcome in sent:
                    if isinstance(outcome, Exception):
                        raise outcome
                while await database.fetchval(_DONE) < len(files):
                    if time.monotonic() - began > PATIENCE_S + 2 * len(files):
                        raise SystemExit("photos are not tagged; see the log of the tagging role")
                    await asyncio.sleep(POLL_S)
                return time.monotonic() - began
        finally:
            await database.close()

    def _arrival(self, file: Path) -> Record:
        event = ImageArrived(uri=f"file:{ROOT}/{file.relative_to(self.folder).as_posix()}")
        return encode(
            IMAGES_ARRIVED,
            event,
            key=str(event.image_id),
            event_id=str(uuid4()),
            source="/bench",
            now=datetime.now(UTC),
        )


@contextmanager
def open_archives(
    folder: Path, engines: Mapping[str, Mapping[str, str]]
) -> Iterator[dict[str, TaggingArchive]]:
    """Start servers and one tagging process per engine; stop them on leaving.

    Args:
        folder: folder of all files, the photos included.
        engines: name -> settings of its process. Each process has topics and a database of its own,
            so that the lines can take turns without a process being started in between.
    """
    folder.chmod(0o755)  # PostgreSQL runs as another user
    os.environ["STANDALONE_HOME"] = str(folder / "home")
    plan = replace(
        make_plan(model="demo"), settings=StandaloneSettings(home=folder / "home"), roles=()
    )
    with (
        Supervisor(allow(plan, folder, ROOT), say=lambda _text: None) as supervisor,
        ExitStack() as processes,
    ):
        supervisor.start_servers()
        os.environ.update(supervisor.kafka.environment)
        archives = {}
        for number, (engine, settings) in enumerate(engines.items()):
            name = f"engine{number}"
            with ThreadPoolExecutor(1) as apart:  # this thread runs an event loop already
                apart.submit(asyncio.run, _create_database(supervisor.postgres.url, name)).result()
            url = f"{supervisor.postgres.url.rpartition('/')[0]}/{name}"
            prefix = f"{name}."
            environment = {
                **supervisor.environment(),
                "DATABASE_URL": url,
                "KAFKA_TOPIC_PREFIX": prefix,
                "CONSUMER_INSTANCE": f"tagging-{name}",
                **settings,
            }
            migrate = [sys.executable, "-m", "migrations"]
            subprocess.run(migrate, env=environment, check=True, stdout=subprocess.DEVNULL)
            processes.enter_context(_tagging(environment, folder / f"{name}.log"))
            archives[engine] = TaggingArchive(folder, supervisor.kafka.bootstrap, url, prefix)
        yield archives


@contextmanager
def _tagging(environment: Mapping[str, str], log: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "consumers", "tagging"]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


async def _create_database(url: str, name: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
