"""What traces show of one photo and one query, and what they cost.

    python -m benchmarks.tracing [--quick] [--cost] [--pictures docs/traces]

First the loop of `benchmarks.runtime` reads a filled topic with and without spans, each run in a
process of its own: seven pairs, of which every other one begins with spans, so that a machine that
slowly changes costs neither side more. A pair's difference is what spans cost. Then a whole archive
tags a photo and answers a query; the share of the wall time that their spans cover is printed, and
with `--pictures` a picture of each is written. `--cost` ends before that.
"""

import argparse
import asyncio
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

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


@dataclass(frozen=True, slots=True)
class Pair:
    """A run without spans and one with them, one right behind the other."""

    without: Run
    traced: Run

    @property
    def cost_s(self) -> float:
        """CPU seconds that spans cost per 10,000 events."""
        return _seconds(self.traced) - _seconds(self.without)


def _seconds(run: Run) -> float:
    """Return CPU seconds per 10,000 events."""
    return run.cpu_us / 100


def cost(events: int, pairs: int) -> list[Pair]:
    """Return runs of the loop without and with spans; every other pair begins with spans."""
    home = make_home("tracing-benchmark")
    port = first_port()
    postgres = EmbeddedPostgres(home, port)
    kafka = EmbeddedKafka(home, cache_directory(home), port + 1)
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
            measure(bench, "ours", "write")  # the first of all warms up
            found = [_pair(bench, collector, traced_first=n % 2 == 1) for n in range(pairs)]
            print(f"{len(collector.spans):,} of {bench.events * pairs:,} spans arrived")
            return found
    finally:
        kafka.stop()
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


def _pair(bench: Bench, collector: SpanCollector, *, traced_first: bool) -> Pair:
    if traced_first:
        traced = _traced(bench, collector)
        return Pair(measure(bench, "ours", "write"), traced)
    return Pair(measure(bench, "ours", "write"), _traced(bench, collector))


def _traced(bench: Bench, collector: SpanCollector) -> Run:
    os.environ[ENDPOINT] = collector.endpoint
    try:
        return measure(bench, "ours", "write")
    finally:
        del os.environ[ENDPOINT]


def print_cost(pairs: list[Pair]) -> None:
    """Print CPU seconds per 10,000 events: of each side, and of each pair's difference."""
    without, traced = [pair.without for pair in pairs], [pair.traced for pair in pairs]
    table = Table("CPU s per 10,000 events", "median", "middle half", "range", "events/s")
    table.add_row("without spans", *_spread([_seconds(run) for run in without]), _rate(without))
    table.add_row("with spans", *_spread([_seconds(run) for run in traced]), _rate(traced))
    table.add_row("spans, by pair", *_spread([pair.cost_s for pair in pairs]), "")
    Console(width=100).print(table)
    print("spans, pair by pair: " + ", ".join(f"{pair.cost_s:+.3f}" for pair in pairs))


def _spread(values: list[float]) -> tuple[str, str, str]:
    low, _, high = quantiles(values, n=4, method="inclusive")
    return (
        f"{median(values):.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{min(values):.3f} to {max(values):.3f}",
    )


def _rate(runs: list[Run]) -> str:
    return f"{median(run.rate for run in runs):,.0f}"


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
    parser.add_argument("--cost", action="store_true", help="only what spans cost")
    parser.add_argument("--pictures", type=Path, help="the folder of the pictures")
    options = parser.parse_args()
    quick: bool = options.quick
    print_machine()
    print_cost(cost(QUICK_EVENTS if quick else EVENTS, QUICK_PAIRS if quick else PAIRS))
    for name, journey in ({} if options.cost else journeys()).items():
        show(name, journey, options.pictures)


if __name__ == "__main__":
    main()
