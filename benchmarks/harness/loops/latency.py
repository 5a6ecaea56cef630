"""Latency of an event in each loop at a low rate: part of `benchmarks.runtime`.

Events are sent one by one at an even pace. `no-op` measures until the handler has the event;
`write` until the commit record of the transaction with its row, by PostgreSQL's own timestamps
(`track_commit_timestamp`), so that all contenders are timed by the same clock. The flush of that
record to the disk comes later, is the same for all and is left out.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from benchmarks.harness.loops.contenders import PARTITIONS
from benchmarks.harness.report import percentile
from core.messaging.kafka.connection import login_options
from core.messaging.kafka.topics import ensure_topics
from core.settings import KafkaSettings
from schemas.topics import TopicPlan
from tests.servers import execute

EVENTS_PER_S = 500
PADDING = b"x" * 500
JOIN_TIMEOUT_S = 60.0
DRAIN_TIMEOUT_S = 60.0
NOT_TIMED = b"%.6f" % 0 + b"0" * 9
COMMITTED = (
    "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8"
    " - convert_from(substring(value FROM 1 FOR 17), 'UTF8')::float8 AS delay"
    " FROM effects WHERE key = 'timed'"
)


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers and the settings of a latency run.

    Attributes:
        module: the module that runs one contender, `benchmarks.harness.loops.contenders`.
        seconds: time for which events are sent.
        path: folder with the contender's library; None where it needs none.
    """

    kafka: str
    database: str
    module: str
    seconds: float
    path: Path | None = None


def latencies(stage: Stage, name: str, role: str) -> list[float]:
    """Send events to one contender; return the seconds that each took."""
    topic = f"latency.{name}.{role}"
    events = PARTITIONS + round(stage.seconds * EVENTS_PER_S)
    asyncio.run(execute(stage.database, "TRUNCATE effects", "TRUNCATE progress"))
    asyncio.run(
        ensure_topics(
            KafkaSettings(bootstrap_servers=stage.kafka), [TopicPlan(topic, PARTITIONS, ())]
        )
    )
    asyncio.run(_send_first(stage.kafka, topic))
    with _running(stage, [name, role, str(events), stage.kafka, stage.database, topic]) as child:
        _wait_until_begun(child)
        asyncio.run(_send_paced(stage, topic, events - PARTITIONS))
        told, _ = child.communicate(timeout=DRAIN_TIMEOUT_S)
    if child.returncode:
        raise RuntimeError(f"{name} ended with {child.returncode}")
    if role == "write":
        return asyncio.run(_committed(stage.database))
    line = next(line for line in told.splitlines() if line.startswith('{"events"'))
    delays_s: list[float] = json.loads(line)["delays_s"]
    return delays_s


@contextlib.contextmanager
def _running(stage: Stage, arguments: Sequence[str]) -> "Iterator[subprocess.Popen[str]]":
    path = {"PYTHONPATH": str(stage.path)} if stage.path else {}
    with (
        tempfile.TemporaryFile("w+") as errors,  # a pipe that nobody reads would fill up
        subprocess.Popen(
            [sys.executable, "-m", stage.module, *arguments, "timed"],
            env=os.environ | path,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as child,
    ):
        try:
            yield child
        finally:
            child.kill()
            child.wait()
            if child.returncode:
                errors.seek(0)
                sys.stderr.write(errors.read()[-3000:])


def _wait_until_begun(child: "subprocess.Popen[str]") -> None:
    assert child.stdout is not None
    limit = threading.Timer(JOIN_TIMEOUT_S, child.kill)
    limit.start()
    try:
        if not any(line == "begun\n" for line in child.stdout):
            raise RuntimeError("the contender ended, or had no event in time")
    finally:
        limit.cancel()


async def _send_first(bootstrap: str, topic: str) -> None:
    """Send an event to each partition; when all have been handled, the contender has joined."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, **login_options(KafkaSettings()))
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            value = NOT_TIMED + PADDING
            await producer.send_and_wait(topic, value, key=b"first", partition=partition)
    finally:
        await producer.stop()


async def _send_paced(stage: Stage, topic: str, events: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stage.kafka, **login_options(KafkaSettings()))
    await producer.start()
    try:
        began = time.monotonic()
        for number in range(events):
            await asyncio.sleep(max(0.0, began + number / EVENTS_PER_S - time.monotonic()))
            value = b"%.6f" % time.time() + PADDING
            await producer.send(topic, value, key=b"timed", partition=number % PARTITIONS)
    finally:
        await producer.stop()


async def _committed(database: str) -> list[float]:
    connection = await asyncpg.connect(database)
    try:
        return [row["delay"] for row in await connection.fetch(COMMITTED)]
    finally:
        await connection.close()


def print_latencies(found: dict[str, list[float]]) -> None:
    """Print a table of milliseconds per event, by `role loop`."""
    table = Table("role", "loop", "events", "ms p50", "p99", "most")
    for name, delays_s in found.items():
        role, loop = name.split()
        shown = [percentile(delays_s, 0.5), percentile(delays_s, 0.99), max(delays_s)]
        table.add_row(role, loop, f"{len(delays_s):,}", *(f"{1000 * each:.1f}" for each in shown))
    print(f"{EVENTS_PER_S} events/s; no-op: until handled, write: until its commit record")
    Console(width=100).print(table)
