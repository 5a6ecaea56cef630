"""Our tagging process as it runs: arrivals on Kafka, photos on disk, tags in PostgreSQL."""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
from prometheus_client import CollectorRegistry

from core.messaging.cloudevents import encode
from core.messaging.kafka import Publisher
from core.settings import KafkaSettings, StandaloneSettings
from core.telemetry.metrics import Metrics
from schemas.image import ImageArrived
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED
from standalone.planning import make_plan
from standalone.roles import Role
from standalone.supervisor import Supervisor, with_roots

ROOT = "bench"
PATIENCE_S = 120.0
POLL_S = 0.02
_DONE = "SELECT count(*) FROM images WHERE status = 'tagged'"
# Else the second repetition would find every embedding there and encode nothing.
_FORGET = "TRUNCATE images, embeddings CASCADE"


@dataclass(frozen=True, slots=True)
class TaggingArchive:
    """A broker, a database and one tagging process.

    Args:
        folder: the allowed root that photos lie under.
    """

    folder: Path
    bootstrap: str
    database_url: str

    async def tag(self, files: Sequence[Path]) -> float:
        """Give the seconds from the first event until the last photo has its tags."""
        database = await asyncpg.connect(self.database_url)
        settings = KafkaSettings(bootstrap_servers=self.bootstrap)
        metrics = Metrics(CollectorRegistry())
        try:
            await database.execute(_FORGET)
            records = [self._arrival(file) for file in files]
            async with Publisher(settings, metrics, client_id="bench") as publisher:
                sent = await publisher.publish(records[:1])  # connects, which takes its time
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
def open_archive(folder: Path, tagging: dict[str, str]) -> Iterator[TaggingArchive]:
    """Start servers and one tagging process with these settings; stop them at the end."""
    folder.chmod(0o755)  # PostgreSQL runs as another user
    os.environ["STANDALONE_HOME"] = str(folder / "home")
    role = Role("tagging-0", ("-m", "consumers", "tagging"), environment=tagging)
    plan = replace(
        make_plan(model="demo"),
        settings=StandaloneSettings(home=folder / "home"),
        roles=(role,),
    )
    with Supervisor(with_roots(plan, {ROOT: folder}), say=lambda _text: None) as supervisor:
        supervisor.start_servers()
        supervisor.migrate()
        supervisor.start_roles()
        yield TaggingArchive(folder, supervisor.kafka.bootstrap, supervisor.postgres.url)
