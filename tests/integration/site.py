"""The surroundings of a program under test: real Kafka, real PostgreSQL, a root of its own."""

import asyncio
import os
from asyncio.subprocess import PIPE, Process
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from core.messaging.kafka.topics import ensure_topics
from core.settings import KafkaSettings
from core.storage.pool import Pool
from schemas.image import ImageArrived
from schemas.topics import Lane, Topic, plan_topics
from tests.servers import kafka_login

REPOSITORY = Path(__file__).parents[2]
LIMIT_S = 60


@dataclass
class Site:
    """An archive's surroundings: its servers, its root, its programs."""

    bootstrap: str
    prefix: str
    database_url: str
    pool: Pool
    root: Path

    async def start(self, *command: str, **variables: str) -> Process:
        environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "KAFKA_TOPIC_PREFIX": self.prefix,
            "DATABASE_URL": self.database_url,
            "ARCHIVE_ROOTS": f"main={self.root}",
            **variables,
        }
        return await asyncio.create_subprocess_exec(
            *command, cwd=REPOSITORY, env=environment, stdout=PIPE, stderr=PIPE
        )  # fmt: skip

    async def run(
        self, *command: str, limit_s: float = LIMIT_S, **variables: str
    ) -> tuple[int, str, str]:
        """Exit code, output and errors of what ends by itself."""
        process = await self.start(*command, **variables)
        output, errors = await asyncio.wait_for(process.communicate(), limit_s)
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    async def values(self, topic: Topic) -> list[bytes]:
        """All values that are on a topic now."""
        return [record.value for record in await self.records(topic)]

    async def records(self, topic: Topic) -> list[Any]:
        """All records that are on a topic now, as Kafka's client gives them."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, **kafka_login(), auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            name = self.prefix + topic.name
            places = [TopicPartition(name, number) for number in range(topic.partitions)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: list[Any] = []
            while len(found) < sum(ends.values()):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def announced(self) -> Counter[str]:
        values = await self.arrivals()
        return Counter(ImageArrived.model_validate_json(value).uri for value in values)

    async def arrivals(self) -> list[bytes]:
        """All values of arrivals, on either lane."""
        return [value for lane in Lane for value in await self.values(lane.topic)]

    def write(self, *names: str) -> None:
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())


async def make_site(
    kafka_bootstrap: str, topics_prefix: str, database_url: str, pool: Pool, tmp_path: Path
) -> Site:
    settings = KafkaSettings(bootstrap_servers=kafka_bootstrap, topic_prefix=topics_prefix)
    await ensure_topics(settings, plan_topics())
    (tmp_path / "root").mkdir()
    return Site(kafka_bootstrap, topics_prefix, database_url, pool, tmp_path / "root")


def uris(*names: str) -> Counter[str]:
    return Counter(f"file:main/{name}" for name in names)
