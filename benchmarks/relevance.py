"""The time to find a query's best image in PostgreSQL, from 10 k to 5 M images, and the write cost.

    python -m benchmarks.relevance [--quick] [--full] [--consumer] [--only 14:5000000]

It compares the table of best images, exact SQL over `image_tags`, and the JSON column with its GIN
index. `--quick`: 10 k images, within a minute. `--full`: also 5 M images of 14 labels and 1 M of
1,000. `--consumer`: query events per second through Kafka, the query process and the outbox.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from benchmarks.harness.archives import SEED, Kind, load, pick_labels, rebuild
from benchmarks.harness.report import goal, percentile, print_machine
from benchmarks.harness.writes import WriteCost, measure_writes
from consumers.query.answering import ImageMatch, LabelQuery
from consumers.query.archive import StoredArchive
from core.relevance.combos import MAX_SIZE, lookup_keys
from core.settings import DatabaseSettings
from core.storage.best import combos, ranking
from core.storage.connecting import TimeLimits
from core.storage.finding import image_pages
from core.storage.finding.filters import ImageFilter
from core.storage.finding.orders import Order
from core.storage.pool import Pool, open_pool
from migrations.schema import upgrade
from schemas.query import QueryOptions
from standalone.postgres.server import EmbeddedPostgres

SIZES = (1, 2, 3, 6)
SLOW_BUDGET_S = 6.0  # for each design and number of labels
SMALL, LARGE = Kind(14, 4), Kind(1000, 10)
GIN = """
SELECT id, (SELECT sum((t->>'score')::numeric) FROM jsonb_array_elements(tags) t
            WHERE t->>'tag' = ANY($2::text[])) AS score
FROM tagged_images WHERE tags @> ANY($1::jsonb[])
ORDER BY 2 DESC NULLS LAST, exif_datetime DESC, id DESC LIMIT 1
"""


@dataclass(slots=True)
class Measured:
    """The figures of one archive; latencies in milliseconds by number of labels."""

    kind: Kind
    images: int
    rows: int = 0
    rebuild_s: float = 0.0
    sizes: dict[str, int] = field(default_factory=dict)
    took: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    wrong: int = 0
    writes: WriteCost | None = None


async def timed(act: Callable[[], Awaitable[object]], budget_s: float, most: int) -> list[float]:
    """Return the milliseconds of repeated calls: at most `most`, none begun after `budget_s`."""
    took: list[float] = []
    began = time.perf_counter()
    while len(took) < most and (time.perf_counter() - began < budget_s or len(took) < 3):
        start = time.perf_counter()
        await act()
        took.append((time.perf_counter() - start) * 1000)
    return took


async def measure_reads(pool: Pool, measured: Measured, *, with_gin: bool) -> None:
    """Measure latencies, and compare the table's answers with the exact ones."""
    chance = random.Random(SEED)
    archive = StoredArchive(pool, 600)
    async with pool.connection() as connection:
        for size in SIZES:

            async def table() -> None:
                wanted = pick_labels(measured.kind, size, chance)  # noqa: B023 - awaited at once
                await combos.look_up(connection, lookup_keys(wanted), wanted)

            async def whole() -> None:
                await archive.best_all([_plain(pick_labels(measured.kind, size, chance))])  # noqa: B023

            async def exact() -> None:
                wanted = pick_labels(measured.kind, size, chance)  # noqa: B023
                (best,) = await ranking.best(connection, wanted, ranking.Filters())
                (found,) = await archive.best_all([_plain(wanted)])
                measured.wrong += found != [ImageMatch(best.image_id, best.score, best.by_label)]

            async def gin() -> None:
                names = [f"label {n}" for n in pick_labels(measured.kind, size, chance)]  # noqa: B023
                await connection.fetch(GIN, [json.dumps([{"tag": name}]) for name in names], names)

            await timed(table, 1, 20)  # warms plans and caches
            measured.took["table", size] = await timed(table, SLOW_BUDGET_S, 500)
            budget = SLOW_BUDGET_S
            limit = (await combos.look_up(connection, [], [])).max_size
            if size <= min(limit, MAX_SIZE):
                await timed(whole, 1, 20)
                measured.took["answer", size] = await timed(whole, budget, 500)
            measured.took["exact", size] = await timed(exact, budget, 100)
            if with_gin:
                measured.took["GIN", size] = await timed(gin, budget, 20)


def _plain(label_ids: list[int]) -> LabelQuery:
    return LabelQuery(tuple(label_ids), QueryOptions(), 1)


async def measure(server: EmbeddedPostgres, kind: Kind, images: int, *, quick: bool) -> Measured:
    """Create one archive in a database of its own and measure it."""
    name = _database(kind, images)
    base = server.url.rpartition("/")[0]
    admin = server.admin_url.rpartition("/")[0]
    async with open_pool(DatabaseSettings(url=SecretStr(server.url))) as pool:
        await pool.execute(f"CREATE DATABASE {name}")
    os.environ["DATABASE_URL"] = f"{base}/{name}"
    await upgrade()
    settings = DatabaseSettings(url=SecretStr(f"{base}/{name}"), command_timeout_s=600)
    measured = Measured(kind, images)
    took = await load(f"{admin}/{name}", kind, images)
    print(f"{kind} at {images:,}: loaded in {took:.0f} s", flush=True)
    async with open_pool(settings, limits=TimeLimits(transaction_s=600)) as pool:
        measured.rebuild_s = await rebuild(pool)
        measured.rows = await pool.fetchval("SELECT count(*) FROM combo_best")
        for table in ("combo_best", "image_tags", "tagged_images"):
            measured.sizes[table] = await pool.fetchval(
                "SELECT pg_total_relation_size($1::regclass)", table
            )
        await measure_reads(pool, measured, with_gin=images <= 1_000_000)
        measured.writes = await measure_writes(pool, kind, batches=30 if quick else 100)
        if images >= 1_000_000 and kind == SMALL:
            await print_plans(pool)
    return measured


async def drop(server: EmbeddedPostgres, kind: Kind, images: int) -> None:
    """Drop an archive's database, which takes a while with 50 million tags."""
    settings = DatabaseSettings(url=SecretStr(server.url), command_timeout_s=600)
    async with open_pool(settings) as pool:
        await pool.execute(f"DROP DATABASE {_database(kind, images)} WITH (FORCE)")


def _database(kind: Kind, images: int) -> str:
    return f"bench_{kind.labels}_{images}"


async def print_plans(pool: Pool) -> None:
    """Print how PostgreSQL answers each search."""
    asked = {
        "one label": (ImageFilter(named=(1,)), Order.SCORE),
        "several labels": (ImageFilter(named=(1, 2)), Order.SCORE),
        "the last taken": (ImageFilter(), Order.TAKEN),
    }
    async with pool.connection() as connection:
        for name, (wanted, order) in asked.items():
            plan = await image_pages.plan(connection, wanted, order, 50)
            print(f"plan of {name}:\n{plan}\n", flush=True)


def print_tables(found: list[Measured]) -> None:
    """Print everything measured."""
    table = Table(title="p50 / p99 ms by matched labels (the greatest of few where slow)")
    for column in ("labels", "images", "design", *(f"m={size}" for size in SIZES)):
        table.add_column(column)
    for one in found:
        for design in ("table", "answer", "exact", "GIN"):
            cells = [_cell(one.took.get((design, size), [])) for size in SIZES]
            if any(cells):
                table.add_row(str(one.kind), f"{one.images:,}", design, *cells)
    console = Console(width=120)
    console.print(table)
    print("table: the lookup alone; answer: with the winner's id and each confidence;")
    print("no answer: more labels than the table keeps sets of; then the exact SQL answers")
    table = Table(title="Size and cost of the table of best images")
    for column in (
        *("labels", "images", "rows", "MiB", "image_tags MiB", "rebuild s", "wrong"),
        *("new: 64 images ms", "of it table", "again: ms", "of it table"),
    ):
        table.add_column(column)
    for one in found:
        cost = one.writes
        table.add_row(
            str(one.kind),
            f"{one.images:,}",
            f"{one.rows:,}",
            f"{one.sizes['combo_best'] / 2**20:.1f}",
            f"{one.sizes['image_tags'] / 2**20:.0f}",
            f"{one.rebuild_s:.1f}",
            str(one.wrong),
            *(cost.cells() if cost else ()),
        )
    console.print(table)


def _cell(took: list[float]) -> str:
    if not took:
        return ""
    return f"{percentile(took, 0.5):.2f}/{percentile(took, 0.99):.2f}"


def print_goals(found: list[Measured]) -> None:
    """Print one line per goal."""
    small = [one for one in found if one.kind == SMALL] or found
    p50 = {
        one.images: percentile([t for m in SIZES for t in one.took["table", m]], 0.5)
        for one in small
    }
    worst = max(p50.values())
    label = f"{min(p50):,} to {max(p50):,} images"
    goal(f"top-1 lookup p50, {label}", worst, 1.0, unit="ms", at_most=True)
    if len(p50) > 1:
        ratio = p50[max(p50)] / p50[min(p50)]
        goal(f"top-1 lookup p50, {max(p50):,} ÷ {min(p50):,}", ratio, 2.0, unit="x", at_most=True)
    costs = [one.writes for one in small if one.writes]
    share = max(cost.new_share for cost in costs)
    goal("table's share of the tagging transaction, 14 labels", share, 0.3, unit="", at_most=True)
    wrong = sum(one.wrong for one in found)
    goal("answers that differ from the exact SQL", wrong, 0, unit="", at_most=True)


async def run(archives: list[tuple[Kind, int]], *, quick: bool) -> None:
    """Measure each archive, then print."""
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder, 21_500)
    try:
        server.start()
        found = []
        for kind, images in archives:
            found.append(await measure(server, kind, images, quick=quick))
            print_tables(found)  # the larger archives take long, so the results so far are shown
            await drop(server, kind, images)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print_goals(found)


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--full", action="store_true", help="5 M images as well: hours")
    parser.add_argument("--only", help="one archive, as 14:5000000 or 1000:1000000")
    parser.add_argument("--consumer", action="store_true", help="events/s through the consumer")
    options = parser.parse_args()
    print_machine()
    if options.consumer:
        from benchmarks.harness.query_rate import run as run_consumer

        asyncio.run(run_consumer(events=2_000 if options.quick else 20_000))
        return
    archives = [(SMALL, 10_000)]
    if not options.quick:
        archives += [(SMALL, 100_000), (SMALL, 1_000_000), (LARGE, 10_000), (LARGE, 100_000)]
    if options.full:
        archives += [(SMALL, 5_000_000), (LARGE, 1_000_000), (LARGE, 5_000_000)]
    if options.only:
        labels, images = options.only.split(":")
        archives = [(SMALL if labels == "14" else LARGE, int(images))]
    asyncio.run(run(archives, quick=options.quick))


if __name__ == "__main__":
    main()
