"""The whole archive on this machine: start, stop, photos/s, query to callback, memory.

    python -m benchmarks.endtoend [--quick] [--model demo] [--photos 600] [--rate 100]

Everything is real: embedded Kafka and PostgreSQL, all roles as processes, HTTP and files. The
load generator and the webhook receiver run on the same cores, so figures are lower bounds.
"""

import argparse
import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import psutil
from aiohttp import web
from PIL import Image
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from benchmarks import starting
from benchmarks.harness.report import goal, percentile, print_machine
from core.messaging.cloudevents import encode
from core.messaging.kafka.producer import Publisher
from core.settings import KafkaSettings, StandaloneSettings
from core.telemetry.metrics import Metrics
from schemas.query import QuerySubmitted
from schemas.topics import QUERIES_SUBMITTED
from standalone.demo.archive_client import ArchiveClient, settled
from standalone.demo.kept_keys import credentials
from standalone.demo.photos import copy_free_photos
from standalone.supervision.planning import allow, make_plan
from standalone.supervision.supervisor import Supervisor

SEED = 20260501
PHOTO_SIZE = (640, 480)  # 0.3 MP
WORDS = ("cat", "dog", "car", "кошка", "beach", "город", "food", "спорт", "military", "пляж")


@dataclass(frozen=True, slots=True)
class Size:
    """The extent of a run."""

    photos: int
    queries_s: float
    rate: float
    single_uploads: int


def make_photos(folder: Path, count: int) -> None:
    """Write distinct JPEGs of 0.3 MP: random crops of free photos from installed packages."""
    chance = random.Random(SEED)
    sources = [Image.open(path).convert("RGB") for path in copy_free_photos(folder / "sources")]
    target = folder / "photos"
    target.mkdir()
    for number in range(count):
        source = chance.choice(sources)
        share = chance.uniform(0.5, 0.95)
        width, height = round(source.width * share), round(source.height * share)
        left = chance.randint(0, source.width - width)
        top = chance.randint(0, source.height - height)
        crop = source.crop((left, top, left + width, top + height)).resize(PHOTO_SIZE)
        crop.save(target / f"{number:05}.jpg", quality=88)


def start(supervisor: Supervisor, archive_home: Path, began: float) -> tuple[ArchiveClient, str]:
    """Start everything; print how long each part took."""
    supervisor.start()
    os.environ.update(supervisor.kafka.environment)
    access = credentials(archive_home, supervisor.environment())
    archive = ArchiveClient(supervisor.ingress_url, access.key)
    archive.wait_until_ready(120)
    print(f"ingress ready after {time.monotonic() - began:.1f} s")
    return archive, access.signing_secret


def upload_singles(archive: ArchiveClient, photos: Sequence[Path]) -> list[float]:
    """Return the seconds from sending one photo until its tags are visible, on an idle system."""
    took = []
    for photo in photos:
        began = time.monotonic()
        image_id = archive.upload([photo])[0]["image_id"]
        while archive.get(f"/images/{image_id}")["status"] != "tagged":
            time.sleep(0.005)
        took.append(time.monotonic() - began)
    return took


def tag_directory(archive: ArchiveClient, count: int) -> float:
    """Return photos/s from the request until the last photo of a directory is tagged."""
    began = time.monotonic()
    job = archive.post("/tag/directory", {"directory_path": "bench/photos"})
    for state in archive.follow_job(job["job_id"], 120):
        if settled(state) >= count:
            break
    return count / (time.monotonic() - began)


async def ask(size: Size) -> list[float]:
    """Return the seconds from publishing a query event to its webhook, at a steady rate."""
    sent: dict[str, float] = {}
    took: list[float] = []

    async def receive(request: web.Request) -> web.Response:
        body = await request.json()
        began = sent.pop(body["data"]["query_id"], None)
        if began is not None:
            took.append(time.monotonic() - began)
        return web.Response(status=204)

    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with Publisher(
        KafkaSettings(), Metrics(CollectorRegistry()), client_id="bench"
    ) as publisher:
        await _publish(publisher, f"http://127.0.0.1:{port}/hook", {}, 10, size.rate)  # warm-up
        await asyncio.sleep(2)
        await _publish(
            publisher, f"http://127.0.0.1:{port}/hook", sent, size.queries_s * size.rate, size.rate
        )
        for _ in range(150):
            if not sent:
                break
            await asyncio.sleep(0.1)
    await runner.cleanup()
    if sent:
        raise SystemExit(f"{len(sent)} queries were never answered")
    return took


async def _publish(
    publisher: Publisher, url: str, sent: dict[str, float], count: float, rate: float
) -> None:
    chance = random.Random(SEED)
    began = time.monotonic()
    sending = []
    for number in range(round(count)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        query_id = uuid4()
        sending.append(asyncio.create_task(_publish_one(publisher, url, sent, query_id, chance)))
    await asyncio.gather(*sending)


async def _publish_one(
    publisher: Publisher, url: str, sent: dict[str, float], query_id: UUID, chance: random.Random
) -> None:
    from datetime import UTC, datetime

    text = " ".join(chance.sample(WORDS, 2))
    event = QuerySubmitted(query_id=query_id, text=text, callback_url=url)
    sent[str(query_id)] = time.monotonic()
    record = encode(
        QUERIES_SUBMITTED,
        event,
        key=str(query_id),
        event_id=str(query_id),
        source="/bench",
        now=datetime.now(UTC),
    )
    outcome = (await publisher.publish([record]))[0]
    if isinstance(outcome, Exception):
        raise outcome


def print_memory(supervisor: Supervisor) -> None:
    """Print each process's memory, children included."""
    table = Table(title="Memory")
    for column in ("process", "MiB", "restarts"):
        table.add_column(column)
    for state in supervisor.states():
        table.add_row(state.name, f"{state.memory_bytes / 2**20:.0f}", str(state.restarts))
    Console().print(table)


def run(size: Size, model: str) -> bool:
    """Measure and print; return whether every goal was met."""
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    folder.chmod(0o755)
    make_photos(folder, size.photos)
    os.environ["STANDALONE_HOME"] = str(folder / "home")
    plan = make_plan(model=model)
    settings = StandaloneSettings(home=folder / "home")
    plan = allow(replace(plan, settings=settings), folder, "bench")
    began = time.monotonic()
    try:
        with Supervisor(plan, say=lambda text: print(f"  {text}")) as supervisor:
            archive, _ = start(supervisor, settings.home, began)
            singles = sorted((folder / "sources").iterdir())
            upload_singles(archive, singles[:1])
            waits = upload_singles(archive, (singles * 20)[1 : size.single_uploads + 1])
            speed = tag_directory(archive, size.photos)
            took = asyncio.run(ask(size))
            print_memory(supervisor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _print(size, waits, speed, took)


def _print(size: Size, waits: list[float], speed: float, took: list[float]) -> bool:
    print(f"photos: {size.photos} of 0.3 MP, {speed:.1f} photos/s end to end")
    print(f"queries: {len(took)} at {size.rate:.0f}/s, pictures inline")
    met = [
        goal(
            "upload to tagged, one image, p50",
            percentile(waits, 0.5) * 1000,
            300,
            unit="ms",
            at_most=True,
        ),
        goal(
            "query event to callback p50",
            percentile(took, 0.5) * 1000,
            50,
            unit="ms",
            at_most=True,
        ),
        goal(
            "query event to callback p99",
            percentile(took, 0.99) * 1000,
            200,
            unit="ms",
            at_most=True,
        ),
    ]
    return all(met)


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--photos", type=int, default=0)
    parser.add_argument("--rate", type=float, default=100)
    options = parser.parse_args()
    print_machine()
    photos = options.photos or (100 if options.quick else 1000)
    seconds, singles = (4, 10) if options.quick else (20, 40)
    starting.measure(options.model, quick=options.quick)
    run(Size(photos, seconds, options.rate, singles), options.model)
    print(f"cpu seconds of this process: {sum(psutil.Process().cpu_times()[:2]):.1f}")


if __name__ == "__main__":
    main()
