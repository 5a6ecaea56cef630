"""Several tagging processes on one PostgreSQL: what a batch waits for, above all for best images.

    python -m benchmarks.locks [--quick] [--batches 240] [--repetitions 3] [--only 14:0]
    python -m benchmarks.locks --how-often [--quick]

1, 2, 4 and 8 processes write the same number of batches of 64 photos, tagged before, with all that
the tagging role writes for them: guard, rows, embeddings, counts, best images, events, commit. No
model, no picture, no Kafka: so they write as fast as PostgreSQL lets them, which no model does.
Meanwhile the sessions are looked at every 5 ms (pg_stat_activity), which itself costs a few per
cent of a core. Each run has a copy of the same archive. `running` includes waiting for a processor.

`--how-often`: how often a batch needs that lock at all, while an archive grows; without servers.
"""

import argparse
import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from benchmarks.harness.archives import Kind, load, rebuild
from benchmarks.harness.report import goal, print_machine
from benchmarks.harness.writing.growth import grow
from benchmarks.harness.writing.together import Ran, copy_of, write_together
from benchmarks.harness.writing.waits import Doing
from core.settings import DatabaseSettings
from core.storage.connecting import TimeLimits
from core.storage.pool import open_pool
from migrations.schema import upgrade
from standalone.postgres.server import EmbeddedPostgres

FIRST_PORT = 21_900
PROCESSES = (1, 2, 4, 8)
JUDGED = 4  # processes at which the lock must not bind
MOST = 0.3  # of a batch's time
SMALL, LARGE = Kind(14, 4), Kind(1000, 10)


@dataclass(frozen=True, slots=True)
class Archive:
    """What is there before the processes write."""

    kind: Kind
    images: int

    @property
    def name(self) -> str:
        """Return the name of its database."""
        return f"locks_{self.kind.labels}_{self.images}"

    def __str__(self) -> str:
        return f"{self.kind.labels} labels, {self.kind.per_image} tags, {self.images:,} photos"


async def prepare(server: EmbeddedPostgres, archive: Archive) -> None:
    """Make the database that each run begins with a copy of."""
    base, admin = (url.rpartition("/")[0] for url in (server.url, server.admin_url))
    async with open_pool(DatabaseSettings(url=SecretStr(server.url))) as pool:
        await pool.execute(f"CREATE DATABASE {archive.name}")
    os.environ["DATABASE_URL"] = f"{base}/{archive.name}"
    await upgrade()
    if archive.images:
        took = await load(f"{admin}/{archive.name}", archive.kind, archive.images)
        settings = DatabaseSettings(url=SecretStr(f"{base}/{archive.name}"), command_timeout_s=600)
        async with open_pool(settings, limits=TimeLimits(transaction_s=600)) as pool:
            took += await rebuild(pool)
        print(f"{archive}: made in {took:.0f} s", flush=True)


async def measure(
    url: str, archive: Archive, *, processes: Sequence[int], batches: int, repetitions: int
) -> list[list[Ran]]:
    """Return the runs by number of processes; the numbers take turns."""
    found: list[list[Ran]] = [[] for _ in processes]
    for _ in range(repetitions):
        for runs, number in zip(found, processes, strict=True):
            async with copy_of(url, archive.name) as copy:
                runs.append(await write_together(copy, archive.kind, number, batches))
    return found


def print_tables(archive: Archive, found: Sequence[Sequence[Ran]]) -> None:
    """Print a line per number of processes: medians, and of images/s the extremes too."""
    console = Console(width=110)
    speeds = Table(title=f"{archive}: how fast")
    for column in ("processes", "batches/s", "images/s", "p50 / p95 ms", "CPU ms server + process"):
        speeds.add_column(column)
    shares = Table(title="a batch's wall time, as pg_stat_activity shows it")
    for column in ("processes", *map(str, Doing), "batches that took the lock", "held ms"):
        shares.add_column(column)
    for runs in found:
        fast = [run.images_per_s for run in runs]
        number = str(runs[0].processes)
        speeds.add_row(
            number,
            f"{median(run.batches_per_s for run in runs):.1f}",
            f"{median(fast):,.0f} ({min(fast):,.0f} to {max(fast):,.0f})",
            f"{_median(runs, 0.5):.0f} / {_median(runs, 0.95):.0f}",
            f"{_cpu_ms(runs, 'server_cpu_s'):.1f} + {_cpu_ms(runs, 'client_cpu_s'):.1f}",
        )
        shares.add_row(
            number,
            *(f"{median(run.shares[one] for run in runs):.0%}" for one in Doing),
            f"{median(run.locking for run in runs):.0%}",
            f"{median(run.held_ms(0.5) for run in runs):.1f}",
        )
    console.print(speeds)
    console.print(shares)
    for runs in found:
        told = median(run.waiting for run in runs)
        print(f"  {runs[0].processes}: {_events(runs)}; best images by the own clocks {told:.1%}")
    _print_ceiling(found)


def _median(runs: Sequence[Ran], share: float) -> float:
    return median(run.took_ms(share) for run in runs)


def _cpu_ms(runs: Sequence[Ran], name: str) -> float:
    per_batch: list[float] = [getattr(run, name) / len(run.batches) * 1000 for run in runs]
    return median(per_batch)


def _events(runs: Sequence[Ran]) -> str:
    looks = sum(run.looks for run in runs) or 1
    every: Counter[str] = sum((run.events for run in runs), start=Counter())
    said = [f"{name} {count / looks:.1%}" for name, count in every.most_common(6)]
    return f"{looks:,} looks: " + ", ".join(said)


def _print_ceiling(found: Sequence[Sequence[Ran]]) -> None:
    """Print what the lock would let through by itself: 1 ÷ (share that takes it × time held)."""
    alone = found[0]
    locking = median(run.locking for run in alone)
    held_s = median(run.held_ms(0.5) for run in alone) / 1000
    if locking > 0 and held_s > 0:
        most = 1 / (locking * held_s)
        print(
            f"  the lock alone lets {most:,.0f} batches/s through "
            f"({locking:.0%} of the batches hold it for {held_s * 1000:.1f} ms)"
        )
    else:
        print("  too few batches took the lock to tell a ceiling")


def print_goal(archive: Archive, found: Sequence[Sequence[Ran]]) -> None:
    """Print whether the lock binds at four processes."""
    runs = next((runs for runs in found if runs[0].processes == JUDGED), found[-1])
    share = median(run.shares[Doing.BEST_IMAGES] for run in runs)
    name = f"best-images lock's share of a batch, {runs[0].processes} processes, {archive}"
    goal(name, share, MOST, unit="", at_most=True)


async def run(archives: Sequence[Archive], *, batches: int, repetitions: int) -> None:
    """Measure each archive, then print the goals."""
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder, FIRST_PORT)
    judged = []
    try:
        server.start()
        for archive in archives:
            await prepare(server, archive)
            found = await measure(
                server.url, archive, processes=PROCESSES, batches=batches, repetitions=repetitions
            )
            print_tables(archive, found)
            judged.append((archive, found))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    for archive, found in judged:
        print_goal(archive, found)


def print_how_often(within_s: float) -> None:
    """Print how often a batch changes a best image, for archives that grow."""
    for kind in (SMALL, LARGE):
        for grown in grow(kind, within_s):
            print(
                f"{kind.labels} labels, {kind.per_image} tags, up to {grown.photos:,} photos: "
                f"{grown.locking:.1%} of the batches change {grown.changed:.2f} rows on average, "
                f"of {grown.rows:,}",
                flush=True,
            )


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="an empty archive alone, a minute")
    parser.add_argument("--batches", type=int, default=0, help="per run, of all processes together")
    parser.add_argument("--repetitions", type=int, default=0)
    parser.add_argument("--only", help="one archive: labels:photos, 14:0 or 1000:100000")
    parser.add_argument("--how-often", action="store_true", help="that a batch takes the lock")
    options = parser.parse_args()
    print_machine()
    if options.how_often:
        print_how_often(15 if options.quick else 300)
        return
    archives = [Archive(SMALL, 0)]
    if not options.quick:
        archives += [Archive(SMALL, 100_000), Archive(LARGE, 100_000)]
    if options.only:
        count, images = options.only.split(":")
        archives = [Archive(SMALL if count == "14" else LARGE, int(images))]
    batches = options.batches or (64 if options.quick else 240)
    repetitions = options.repetitions or (1 if options.quick else 3)
    asyncio.run(run(archives, batches=batches, repetitions=repetitions))


if __name__ == "__main__":
    main()
