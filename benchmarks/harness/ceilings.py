"""The rate of each stage of tagging alone; no pipeline is faster than its slowest stage."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pydantic import SecretStr

from benchmarks.harness.archives import Kind
from benchmarks.harness.writes import BATCH, measure_writes
from core.errors import PermanentError
from core.messaging.kafka.connection import login_options
from core.messaging.kafka.topics import ensure_topics
from core.settings import DatabaseSettings, KafkaSettings
from core.storage import labels
from core.storage.pool import open_pool
from core.vision.decoding.decoder import DecodePool
from schemas.topics import TopicPlan

EVENTS = 20_000
EVENT = bytes(600)  # about the size of an arrival's JSON and headers
TOPIC = "ceiling"
KIND = Kind(14, 4)  # the default labels and top-k


@dataclass(frozen=True, slots=True)
class Decoding:
    """Decodes files in worker processes as the tagging process does, and nothing else."""

    pool: DecodePool

    async def run(self, files: Sequence[Path]) -> float:
        """Decode all files; return the seconds it took."""
        began = time.monotonic()
        outcomes = await asyncio.gather(*(self.pool.decode(file.read_bytes()) for file in files))
        for refused in (each for each in outcomes if isinstance(each, PermanentError)):
            raise SystemExit(f"a photo of the benchmark was refused: {refused}")
        return time.monotonic() - began


async def database_rate(url: str, batches: int = 40) -> float:
    """Return images per second of the tagging transaction alone, 64 images each."""
    settings = DatabaseSettings(url=SecretStr(url))
    async with open_pool(settings) as pool:
        async with pool.transaction() as tx:
            await labels.ensure(tx, [f"label {number + 1}" for number in range(KIND.labels)])
        cost = await measure_writes(pool, KIND, batches)
    return BATCH * 1000 / median(cost.new)


async def broker_rate(bootstrap: str) -> float:
    """Return events per second, each one read and one written, as tagging does, on one core."""
    settings = KafkaSettings(bootstrap_servers=bootstrap)
    # a new topic has no leader at first, and the client would log each attempt until then
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)
    for name in (TOPIC, f"{TOPIC}.out"):
        await ensure_topics(settings, [TopicPlan(name, partitions=12, config=())])
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=5, **login_options(settings)
    ) as producer:
        await _send(producer, TOPIC, EVENTS)
        consumer = AIOKafkaConsumer(
            TOPIC,
            bootstrap_servers=bootstrap,
            auto_offset_reset="earliest",
            **login_options(settings),
        )
        async with consumer:
            seen, began = 0, time.monotonic()
            while seen < EVENTS:
                fetched = await consumer.getmany(timeout_ms=1000, max_records=500)
                count = sum(map(len, fetched.values()))
                await _send(producer, f"{TOPIC}.out", count)
                seen += count
            return seen / (time.monotonic() - began)


async def _send(producer: AIOKafkaProducer, topic: str, count: int) -> None:
    sent = [await producer.send(topic, EVENT, partition=at % 12) for at in range(count)]
    for each in sent:
        await each
