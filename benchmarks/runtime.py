"""Events per second of our loop and of a bare loop with the same clients and the same writes.

    python -m benchmarks.runtime [--quick] [--peers FOLDER]

The bare loop is aiokafka and asyncpg alone: fetch, insert, commit to Kafka once a second; after a
crash it repeats records. Ours does the same work exactly once. Roles: `write` inserts a row per
event, `no-op` inserts nothing (ours still has its guarded transaction). No contender decodes the
bodies.
Each run is a process of its own on the same filled topic; the clock runs from the first record to
the last commit. Then the latency at a low rate is measured (`loops.latency`). `--peers` names the
folder with FastStream and arroyo, which are then measured too; they commit to Kafka once a second
as well, and repeat records after a crash.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from benchmarks.harness.loops.contenders import EFFECTS, PARTITIONS
from benchmarks.harness.loops.latency import Stage, latencies, print_latencies
from benchmarks.harness.report import goal, print_machine
from core.messaging.kafka.connection import login_options
from core.messaging.kafka.topics import ensure_topics
from core.settings import KafkaSettings
from schemas.topics import TopicPlan
from standalone.environment import cache_directory
from standalone.kafka.broker import EmbeddedKafka
from standalone.postgres.server import EmbeddedPostgres
from tests.servers import at_database, execute, first_port, make_home, migrate

TOPIC = "runtime.v1"
EVENTS, QUICK_EVENTS = 1_000_000, 200_000
REPEATS, QUICK_REPEATS = 3, 1
TIMED_S, QUICK_TIMED_S = 20.0, 5.0
#: The client fetches up to 24 MB before the clock runs, so all records together must be far larger.
VALUE = b"x" * 500
BOUND = 0.90
CHILD = "benchmarks.harness.loops.contenders"
CONTENDERS = ("bare", "ours")
PEERS = ("faststream", "arroyo")
PEERS_INSTALL = 'pip install --target FOLDER "faststream[kafka]" sentry-arroyo'


@dataclass(frozen=True, slots=True)
class Bench:
    """The servers and settings that all runs share.

    Attributes:
        peers: folder with the other libraries; None: they are not measured.
    """

    kafka: str
    database: str
    events: int
    peers: Path | None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contender."""

    events: int
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Return the events per second."""
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        """Return microseconds of the process's CPU per event."""
        return self.cpu_s / self.events * 1e6


async def fill(bootstrap: str, events: int) -> None:
    """Create the topic and fill it, in full batches."""
    settings = KafkaSettings(bootstrap_servers=bootstrap)
    await ensure_topics(settings, [TopicPlan(TOPIC, PARTITIONS, ())])
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, max_batch_size=512 * 1024, **login_options(settings)
    )
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            await _fill_partition(producer, partition, events // PARTITIONS)
    finally:
        await producer.stop()


async def _fill_partition(producer: Any, partition: int, events: int) -> None:
    number = 0
    while number < events:
        batch = producer.create_batch()
        while number < events and batch.append(
            key=b"%d" % number, value=VALUE, timestamp=None, headers=[("ce_id", b"%d" % number)]
        ):
            number += 1
        batch.close()
        await (await producer.send_batch(batch, TOPIC, partition=partition))


def measure(bench: Bench, name: str, role: str) -> Run:
    """Run one contender in a process of its own."""
    asyncio.run(execute(bench.database, "TRUNCATE effects", "TRUNCATE progress"))
    arguments = [name, role, str(bench.events), bench.kafka, bench.database, TOPIC]
    path = {"PYTHONPATH": str(bench.peers)} if name in PEERS else {}
    done = subprocess.run(
        [sys.executable, "-m", CHILD, *arguments],
        env=os.environ | path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    # A library may log to the same stream after the line with the result.
    told = next(line for line in done.stdout.splitlines() if line.startswith('{"events"'))
    run = json.loads(told)
    return Run(run["events"], run["seconds"], run["cpu_s"])


def measure_all(bench: Bench, repeats: int) -> dict[str, list[Run]]:
    """Run the contenders alternately, so that changes of the machine's load affect all."""
    runs: dict[str, list[Run]] = {}
    for _ in range(repeats):
        for role in ("no-op", "write"):
            for name in (*CONTENDERS, *(PEERS if bench.peers else ())):
                runs.setdefault(f"{role} {name}", []).append(measure(bench, name, role))
    return runs


def measure_latencies(bench: Bench, seconds: float) -> dict[str, list[float]]:
    """Return the seconds per event by `role loop`."""
    return {
        f"{role} {name}": latencies(
            Stage(
                bench.kafka, bench.database, CHILD, seconds, bench.peers if name in PEERS else None
            ),
            name,
            role,
        )
        for role in ("no-op", "write")
        for name in (*CONTENDERS, *(PEERS if bench.peers else ()))
    }


def print_results(runs: dict[str, list[Run]]) -> None:
    """Print the table and the goals."""
    table = Table("role", "loop", "events/s median", "range", "CPU µs/event")
    for name, found in runs.items():
        role, loop = name.split()
        rates = [run.rate for run in found]
        cpu = median(run.cpu_us for run in found)
        span = f"{min(rates):,.0f} to {max(rates):,.0f}"
        table.add_row(role, loop, f"{median(rates):,.0f}", span, f"{cpu:.1f}")
    Console(width=100).print(table)
    if not any(name.endswith(PEERS) for name in runs):
        print(f"FastStream and arroyo left out: {PEERS_INSTALL}, then --peers FOLDER")
    for role in ("write", "no-op"):
        bare, ours = runs[f"{role} bare"], runs[f"{role} ours"]
        speed = median(run.rate for run in ours) / median(run.rate for run in bare)
        cpu = median(run.cpu_us for run in ours) / median(run.cpu_us for run in bare)
        print(f"{role}: CPU of ours ÷ bare {cpu:.2f}")
        for name in (peer for peer in PEERS if f"{role} {peer}" in runs):
            share = median(run.rate for run in runs[f"{role} {name}"])
            print(f"{role}: {name} ÷ bare {share / median(run.rate for run in bare):.2f}")
        if role == "write":
            goal("runtime ÷ bare loop, same writes", speed, BOUND, unit="x", at_most=False)
        else:
            print(f"no-op: ours ÷ bare {speed:.2f} (bare writes nothing at all)")


def main() -> None:
    """Start servers of our own, fill a topic, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime")
    parser.add_argument("--quick", action="store_true", help="200,000 events, one repeat")
    parser.add_argument("--peers", type=Path, help=f"a folder made by {PEERS_INSTALL}")
    options = parser.parse_args()
    quick: bool = options.quick
    print_machine()
    for peer in options.peers.glob("*.dist-info") if options.peers else ():
        if peer.name.startswith(("faststream", "sentry_arroyo")):
            print(f"peer: {peer.stem}")
    home = make_home("runtime-benchmark")
    port = first_port()
    postgres = EmbeddedPostgres(home, port)
    kafka = EmbeddedKafka(home, cache_directory(home), port + 1)
    try:
        postgres.start()
        kafka.start()
        os.environ.update(kafka.environment)
        asyncio.run(execute(postgres.url, "CREATE DATABASE runtime"))
        database = at_database(postgres.url, "runtime")
        migrate(database)
        asyncio.run(execute(database, EFFECTS))
        events = QUICK_EVENTS if quick else EVENTS
        asyncio.run(fill(kafka.bootstrap, events))
        events -= events % PARTITIONS
        repeats = QUICK_REPEATS if quick else REPEATS
        bench = Bench(kafka.bootstrap, database, events, options.peers)
        print_results(measure_all(bench, repeats))
        postgres.stop()
        settings = next(home.glob("postgres/**/postgresql.auto.conf"))
        with settings.open("a") as more:
            more.write("track_commit_timestamp = on\n")
        postgres.start()
        print_latencies(measure_latencies(bench, QUICK_TIMED_S if quick else TIMED_S))
    finally:
        kafka.stop()
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
