"""Measure what a bulk load takes from an upload that comes meanwhile, and the upload from the load.

    python -m benchmarks.sharing.bulk_load [--quick]

A whole archive on this machine, with the demo model; the load generator runs on the same cores. A
backlog of arrivals waits on images.bulk.v1. Single photos are uploaded on the idle archive, and
then one a second beside the backlog. Its own rate is measured alone before and after these. Each
photo has other bytes, so that each is decoded and encoded.
"""

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from zlib import crc32

import asyncpg
import httpx
from PIL import Image
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from benchmarks.harness.report import goal, percentile
from benchmarks.harness.rows import run_alone
from core.messaging.cloudevents import encode
from core.messaging.kafka.producer import Publisher
from core.settings import KafkaSettings, StandaloneSettings
from core.telemetry.metrics import Metrics
from schemas.image import ImageArrived
from schemas.record import Record
from schemas.topics import IMAGES_BULK, Lane
from standalone.demo.archive_client import ArchiveClient
from standalone.demo.kept_keys import credentials
from standalone.demo.photos import copy_free_photos
from standalone.supervision.planning import allow, make_plan
from standalone.supervision.supervisor import Supervisor

SEED = 20260501
ROOT = "bench"
PHOTO_SIZE = (640, 480)  # 0.3 MP
KINDS = 100
READY_S, PATIENCE_S = 180.0, 60.0
POLL_S = 0.01
PER_PUBLISH = 5000
_PASSED = "SELECT coalesce(sum(next_offset), 0)::int8 FROM progress WHERE grp = $1"


@dataclass(frozen=True, slots=True)
class Size:
    """The extent of a run.

    Attributes:
        backlog: arrivals that wait.
        files: of them with bytes of their own; more than are reached.
        uploads: single photos on the idle archive, and as many beside the backlog.
        alone_s: for how long the backlog is worked off alone, before and after.
    """

    backlog: int
    files: int
    uploads: int
    alone_s: float


FULL = Size(backlog=100_000, files=40_000, uploads=100, alone_s=30.0)
QUICK = Size(backlog=10_000, files=4_000, uploads=12, alone_s=5.0)


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured.

    Attributes:
        idle_s: from sending a photo until its tags are visible, on the idle archive.
        beside_s: the same beside the backlog.
        alone_per_s: bulk photos a second without uploads, before and after.
        mixed_per_s: bulk photos a second with one upload a second.
    """

    idle_s: Sequence[float]
    beside_s: Sequence[float]
    alone_per_s: tuple[float, float]
    mixed_per_s: float


class Photos:
    """Photos of a hundred kinds, each with bytes of its own."""

    def __init__(self, folder: Path) -> None:
        chance = random.Random(SEED)
        sources = [Image.open(path).convert("RGB") for path in copy_free_photos(folder / "free")]
        self._kinds = []
        for number in range(KINDS):
            source = chance.choice(sources)
            width, height = (round(side * chance.uniform(0.5, 0.95)) for side in source.size)
            left = chance.randint(0, source.width - width)
            top = chance.randint(0, source.height - height)
            crop = source.crop((left, top, left + width, top + height)).resize(PHOTO_SIZE)
            path = folder / f"kind-{number}.jpg"
            crop.save(path, quality=80)
            self._kinds.append(path.read_bytes())

    def make(self, name: str) -> bytes:
        """Return the photo with this name; what follows the picture makes it another file."""
        return self._kinds[crc32(name.encode()) % KINDS] + name.encode()

    def write(self, folder: Path, count: int) -> None:
        """Write so many photos, named by their numbers."""
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:06}.jpg").write_bytes(self.make(f"bulk {number}"))


@dataclass(frozen=True, slots=True)
class Bench:
    """An archive that runs, and what is needed to load it."""

    supervisor: Supervisor
    http: httpx.AsyncClient
    database: "asyncpg.Connection[asyncpg.Record]"
    photos: Photos

    async def fill(self, size: Size) -> None:
        """Publish the backlog; the last arrivals name photos for a second time."""
        settings = KafkaSettings(bootstrap_servers=self.supervisor.kafka.bootstrap)
        metrics = Metrics(CollectorRegistry())
        async with Publisher(settings, metrics, client_id="bench") as publisher:
            for first in range(0, size.backlog, PER_PUBLISH):
                numbers = range(first, min(first + PER_PUBLISH, size.backlog))
                records = [_arrival(number % size.files) for number in numbers]
                for outcome in await publisher.publish(records):
                    if isinstance(outcome, Exception):
                        raise outcome

    async def passed(self) -> int:
        """Return how many bulk arrivals were dealt with."""
        return int(await self.database.fetchval(_PASSED, Lane.BULK.group))

    async def rate(self, seconds: float) -> float:
        """Return bulk arrivals a second while nothing is uploaded."""
        before, began = await self.passed(), time.monotonic()
        await asyncio.sleep(seconds)
        return (await self.passed() - before) / (time.monotonic() - began)

    async def upload(self, name: str) -> float:
        """Upload one photo; return the seconds until its tags are visible."""
        began = time.monotonic()
        answer = await self.http.post(
            "/images/upload",
            content=self.photos.make(name),
            headers={"content-type": "image/jpeg"},
            params={"filename": f"{name}.jpg"},
        )
        answer.raise_for_status()
        path = f"/images/{answer.json()['images'][0]['image_id']}"
        while (await self.http.get(path)).json()["status"] != "tagged":
            if time.monotonic() - began > PATIENCE_S:
                raise SystemExit(f"{name} was not tagged within {PATIENCE_S:.0f} s")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began

    async def upload_all(self, name: str, count: int) -> list[float]:
        """Upload one photo a second, at moments that have nothing to do with any timer of ours."""
        chance, waits, began = random.Random(SEED), [], time.monotonic()
        for number in range(count):
            due = began + number + chance.random() / 2
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            waits.append(await self.upload(f"{name} {number}"))
        return waits


def _arrival(number: int) -> Record:
    event = ImageArrived(uri=f"file:{ROOT}/bulk/{number:06}.jpg")
    return encode(
        IMAGES_BULK,
        event,
        key=str(event.image_id),
        event_id=str(uuid4()),
        source="/bench",
        now=datetime.now(UTC),
    )


async def _measure(bench: Bench, size: Size) -> Result:
    await bench.upload_all("warm", 3)
    idle_s = await bench.upload_all("idle", size.uploads)
    await bench.fill(size)
    while not await bench.passed():
        await asyncio.sleep(POLL_S)
    before = await bench.rate(size.alone_s)
    passed, began = await bench.passed(), time.monotonic()
    beside_s = await bench.upload_all("beside", size.uploads)
    mixed_per_s = (await bench.passed() - passed) / (time.monotonic() - began)
    after = await bench.rate(size.alone_s)
    if (reached := await bench.passed()) > size.files:
        raise SystemExit(f"{reached} arrivals reached: more than the {size.files} files there are")
    return Result(idle_s, beside_s, (before, after), mixed_per_s)


@contextmanager
def _archive(folder: Path) -> Iterator[Supervisor]:
    os.environ["STANDALONE_HOME"] = str(folder / "home")
    settings = StandaloneSettings(home=folder / "home")
    plan = allow(replace(make_plan(model="demo"), settings=settings), folder, ROOT)
    with Supervisor(plan, say=lambda _text: None) as supervisor:
        supervisor.start()
        os.environ.update(supervisor.kafka.environment)  # how to log in
        yield supervisor


async def _on(supervisor: Supervisor, key: str, photos: Photos, size: Size) -> Result:
    database = await asyncpg.connect(supervisor.postgres.url)
    try:
        async with httpx.AsyncClient(
            base_url=supervisor.ingress_url, headers={"X-API-Key": key}, timeout=60, trust_env=False
        ) as http:
            return await _measure(Bench(supervisor, http, database, photos), size)
    finally:
        await database.close()


def measure(*, quick: bool) -> None:
    """Measure uploads and the load, each alone and beside the other; print the table and goals."""
    size = QUICK if quick else FULL
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user
    try:
        photos = Photos(folder)
        photos.write(folder / "bulk", size.files)
        with _archive(folder) as supervisor:
            key = credentials(folder / "home", supervisor.environment()).key
            with ArchiveClient(supervisor.ingress_url, key) as waiting:
                waiting.wait_until_ready(READY_S)
            result = asyncio.run(_on(supervisor, key, photos, size))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(result, size)


def _print(result: Result, size: Size) -> None:
    table = Table(title=f"Uploads, one a second, and {size.backlog:,} bulk arrivals waiting")
    for column in ("", "uploads", "p50 ms", "p99 ms", "bulk photos/s"):
        table.add_column(column)
    before, after = result.alone_per_s
    rows = (
        ("idle", result.idle_s, "–"),
        ("beside bulk", result.beside_s, f"{result.mixed_per_s:.1f}"),
        ("bulk alone", (), f"{before:.1f}, {after:.1f}"),
    )
    for name, waits, rate in rows:
        shown = [
            f"{percentile(waits, share) * 1000:.0f}" if waits else "–" for share in (0.5, 0.99)
        ]
        table.add_row(name, str(len(waits)), *shown, rate)
    Console(width=120).print(table)
    slower = percentile(result.beside_s, 0.99) / percentile(result.idle_s, 0.99)
    goal("upload to tagged, p99 beside bulk ÷ idle", slower, 2, unit="×", at_most=True)
    kept = result.mixed_per_s / ((before + after) / 2)
    goal("bulk beside one upload a second ÷ alone", kept, 0.9, unit="×", at_most=False)


if __name__ == "__main__":
    run_alone(measure)
