"""What traces show of one photo and one query, and what they cost.

    python -m benchmarks.tracing [--quick] [--pictures docs/traces]

First the loop of `benchmarks.runtime` reads a filled topic with and without spans, in turns, each
run in a process of its own. Then a whole archive tags a photo and answers a query; the share of the
wall time that their spans cover is printed, and with `--pictures` a picture of each is written.
"""

import argparse
import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.harness.loops.contenders import EFFECTS, PARTITIONS
from benchmarks.harness.report import goal, print_machine
from benchmarks.harness.traces import SpanCollector, covered, picture
from benchmarks.runtime import Bench, Run, fill, measure
from standalone.environment import cache_directory
from standalone.kafka.broker import EmbeddedKafka
from standalone.postgres.server import EmbeddedPostgres
from tests.e2e.archive import running_archive
from tests.e2e.tracing import HearingReceiver, Journey, ask, upload
from tests.fakes.pictures import jpeg
from tests.servers import at_database, execute, first_port, make_home, migrate

EVENTS, QUICK_EVENTS = 120_000, 24_000
PAIRS, QUICK_PAIRS = 7, 2
COVERED = 0.95
ENDPOINT = "TELEMETRY_OTLP_ENDPOINT"


def cost(events: int, pairs: int) -> dict[str, list[Run]]:
    """Return runs of the loop without and with spans, made in turns."""
    home = make_home("tracing-benchmark")
    port = first_port()
    postgres = EmbeddedPostgres(home, port)
    kafka = EmbeddedKafka(home, cache_directory(home), port + 1)
    runs: dict[str, list[Run]] = {"without": [], "with": []}
    try:
        postgres.start()
        kafka.start()
        os.environ.update(kafka.environment)
        asyncio.run(execute(postgres.url, "CREATE DATABASE tracing"))
        database = at_database(postgres.url, "tracing")
        migrate(database)
        asyncio.run(execute(database, EFFECTS))
        asyncio.run(fill(kafka.bootstrap, events))
        bench = Bench(kafka.bootstrap, database, events - events % PARTITIONS, None)
        with SpanCollector() as collector:
            for _ in range(pairs):
                runs["without"].append(measure(bench, "ours", "write"))
                os.environ[ENDPOINT] = collector.endpoint
                runs["with"].append(measure(bench, "ours", "write"))
                del os.environ[ENDPOINT]
            print(f"{len(collector.spans):,} of {bench.events * pairs:,} spans arrived")
    finally:
        kafka.stop()
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)
    return runs


def print_cost(runs: dict[str, list[Run]]) -> None:
    """Print the CPU seconds per 10,000 events."""
    table = Table("spans", "CPU s per 10,000 events, median", "range", "events/s")
    for name, found in runs.items():
        seconds = [run.cpu_us / 100 for run in found]
        span = f"{min(seconds):.3f} to {max(seconds):.3f}"
        rate = f"{median(run.rate for run in found):,.0f}"
        table.add_row(name, f"{median(seconds):.3f}", span, rate)
    Console(width=100).print(table)


def journeys() -> dict[str, Journey]:
    """Return what one photo and one query went through, in an archive of their own."""
    with SpanCollector() as collector:
        settings = {ENDPOINT: collector.endpoint}
        with (
            tempfile.TemporaryDirectory() as folder,
            running_archive("traces", settings) as archive,
            HearingReceiver(archive.access.signing_secret, Path(folder)) as receiver,
        ):
            upload(archive, collector, jpeg(1, size=(1200, 900)))  # the first of all warms up
            ask(archive, collector, receiver, "a cat")
            return {
                "photo": upload(archive, collector, jpeg(2, size=(1200, 900))),
                "query": ask(archive, collector, receiver, "a dog on the beach"),
            }


def show(name: str, journey: Journey, pictures: Path | None) -> None:
    """Print what a trace covers; write its picture."""
    share = covered(journey.spans, journey.from_ns, journey.to_ns)
    took_ms = (journey.to_ns - journey.from_ns) / 1e6
    goal(f"one {name}: wall time that spans cover", share, COVERED, unit="", at_most=False)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        title = f"One {name}: {took_ms:.0f} ms, {share:.1%} of them covered; pale: waiting"
        drawn = picture(title, journey.spans, journey.from_ns, journey.to_ns)
        (pictures / f"{name}.svg").write_text(drawn, encoding="utf-8")


def main() -> None:
    """Measure and print; write pictures where they are wished for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing")
    parser.add_argument("--quick", action="store_true", help="24,000 events, two pairs")
    parser.add_argument("--pictures", type=Path, help="the folder of the pictures")
    options = parser.parse_args()
    quick: bool = options.quick
    print_machine()
    print_cost(cost(QUICK_EVENTS if quick else EVENTS, QUICK_PAIRS if quick else PAIRS))
    for name, journey in journeys().items():
        show(name, journey, options.pictures)


if __name__ == "__main__":
    main()
