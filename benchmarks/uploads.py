"""Uploads of photos of 300 kB: the ingress, and a bare Starlette application that stores nothing.

    python -m benchmarks.uploads [--quick] [--uploads 300] [--rounds 3]

Eight clients send raw and multipart bodies, alternately to the ingress and to the bare application
with the same server settings, so that noise of the machine affects both. The ingress checks the
picture, hashes it, writes bytes, row and event to PostgreSQL in one transaction and publishes the
event before it answers. "On its topic" is the time from the first byte sent until a consumer has
the event.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
import uvloop
from aiokafka import AIOKafkaConsumer
from rich.console import Console
from rich.table import Table

from benchmarks.harness import webhooks
from benchmarks.harness.pictures import make_photos
from benchmarks.harness.report import percentile, print_machine
from core.messaging.kafka.connection import login_options
from core.settings import KafkaSettings
from core.webhooks.signing_secrets import make_key as make_secrets_key
from ingress import commands
from migrations import topics
from schemas.topics import IMAGES_ARRIVED
from standalone.environment import cache_directory
from standalone.kafka.broker import EmbeddedKafka

FIRST_PORT = 27_300
PHOTO_BYTES = 300_000
CLIENTS = 8
BOUNDARY = "----benchmark"
PUBLISHED_WITHIN_S = 30.0
_SERVE = {"ours": ["-m", "ingress"], "bare": ["-m", "benchmarks.harness.bare_uploads"]}


@dataclass(frozen=True, slots=True)
class Run:
    """The results of some uploads.

    Attributes:
        sent_at: image id -> when its request began.
    """

    per_s: float
    waits_s: list[float]
    cpu_ms: float
    sent_at: dict[str, float]


@dataclass(slots=True)
class Photos:
    """A source of distinct photos of one size: a few files, each time with another comment."""

    stock: Sequence[bytes]
    _made: int = 0

    def take(self) -> bytes:
        """Return a photo that was not returned before."""
        self._made += 1
        photo = self.stock[self._made % len(self.stock)]
        comment = f"photo {os.getpid()} {self._made}".encode()
        marked = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        return photo[:2] + marked + photo[2:]


@dataclass(slots=True)
class Arrivals:
    """The time at which the event of each image arrived from its topic."""

    at: dict[str, float] = field(default_factory=dict)

    async def listen(self, consumer: AIOKafkaConsumer) -> None:
        """Note the time of each event, until cancelled."""
        async for record in consumer:
            self.at[(record.key or b"").decode()] = time.monotonic()

    async def waits(self, sent_at: dict[str, float]) -> list[float]:
        """Return the seconds from request to topic, once all events have arrived."""
        async with asyncio.timeout(PUBLISHED_WITHIN_S):
            while not sent_at.keys() <= self.at.keys():
                await asyncio.sleep(0.05)
        return [self.at[key] - moment for key, moment in sent_at.items()]


@dataclass(frozen=True, slots=True)
class Served:
    """A server process, and requests to it."""

    name: str
    process: "subprocess.Popen[bytes]"
    http: aiohttp.ClientSession

    async def run(self, photos: Photos, count: int, *, multipart: bool, clients: int) -> Run:
        """Upload that many photos."""
        bodies = [photos.take() for _ in range(count)]
        waits: list[float] = []
        sent_at: dict[str, float] = {}

        async def client(mine: Sequence[bytes]) -> None:
            for photo in mine:
                began = time.monotonic()
                image_id = await self._upload(photo, multipart=multipart)
                waits.append(time.monotonic() - began)
                sent_at[image_id] = began

        used, began = self._cpu_s(), time.monotonic()
        await asyncio.gather(*(client(bodies[first::clients]) for first in range(clients)))
        took = time.monotonic() - began
        return Run(count / took, waits, (self._cpu_s() - used) / count * 1000, sent_at)

    async def _upload(self, photo: bytes, *, multipart: bool) -> str:
        headers = {"Content-Type": "image/jpeg"}
        if multipart:
            photo = _multipart(photo)
            headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        async with self.http.post("/images/upload", data=photo, headers=headers) as response:
            document = await response.json()
            if response.status != 202:
                raise RuntimeError(document)
        return str(document["images"][0].get("image_id", len(photo)))

    def _cpu_s(self) -> float:
        return sum(psutil.Process(self.process.pid).cpu_times()[:2])


def _multipart(photo: bytes) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return b"".join((head.encode(), photo, f"\r\n--{BOUNDARY}--\r\n".encode()))


@asynccontextmanager
async def served(name: str, port: int, key: str) -> AsyncIterator[Served]:
    """Start a server process; stop it when the block ends."""
    arguments = [*_SERVE[name], *([str(port)] if name == "bare" else [])]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=os.environ | {"INGRESS_PORT": str(port), "TELEMETRY_LOG_LEVEL": "warning"},
    )
    try:
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{port}", headers={"X-API-Key": key}
        ) as http:
            await _until_ready(http)
            yield Served(name, process, http)
    finally:
        process.terminate()
        process.wait(30)


async def _until_ready(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with http.get("/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)


@contextmanager
def broker() -> Iterator[None]:
    """Start a Kafka with our topics; environment variables name it meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    server = EmbeddedKafka(folder, cache_directory(folder), FIRST_PORT)
    try:
        server.start()
        os.environ.update(server.environment)
        asyncio.run(topics.create())
        yield
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def measure(photos: Photos, uploads: int, rounds: int) -> None:
    """Run both alternately and print."""
    made = await commands.create(commands.KeyRequest("benchmark"), if_absent=False)
    if made is None:
        raise RuntimeError("no key was made")
    consumer = AIOKafkaConsumer(
        IMAGES_ARRIVED.name,
        bootstrap_servers=KafkaSettings().bootstrap_servers,
        **login_options(KafkaSettings()),
    )
    arrivals = Arrivals()
    async with (
        served("ours", FIRST_PORT + 2, made.key) as ours,
        served("bare", FIRST_PORT + 3, made.key) as bare,
    ):
        await consumer.start()
        listening = asyncio.create_task(arrivals.listen(consumer))
        runs: dict[tuple[str, bool], list[Run]] = {}
        for warm in (ours, bare):
            await warm.run(photos, 30, multipart=True, clients=CLIENTS)
        for _ in range(rounds):
            for multipart in (False, True):
                for one in (ours, bare):
                    run = await one.run(photos, uploads, multipart=multipart, clients=CLIENTS)
                    runs.setdefault((one.name, multipart), []).append(run)
        alone = await ours.run(photos, max(50, uploads // 4), multipart=False, clients=1)
        on_topic = await arrivals.waits(
            {key: at for name, many in runs.items() if name[0] == "ours" for run in many
             for key, at in run.sent_at.items()}
        )  # fmt: skip
        alone_on_topic = await arrivals.waits(alone.sent_at)
        listening.cancel()
        await consumer.stop()
    _print(runs, alone)
    _print_latency("on its topic, 8 clients", on_topic)
    _print_latency("on its topic, one client", alone_on_topic)


def _print(runs: dict[tuple[str, bool], list[Run]], alone: Run) -> None:
    table = Table(title=f"Uploads of {PHOTO_BYTES // 1000} kB, {CLIENTS} clients")
    for column in (
        "server",
        "body",
        "uploads/s, median (least to most)",
        "p50 ms",
        "p99 ms",
        "CPU ms",
    ):
        table.add_column(column)
    for (name, multipart), many in runs.items():
        rates, waits = [run.per_s for run in many], [w for run in many for w in run.waits_s]
        table.add_row(
            name, "multipart" if multipart else "raw",
            f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})",
            f"{percentile(waits, 0.5) * 1000:.1f}", f"{percentile(waits, 0.99) * 1000:.1f}",
            f"{statistics.median(run.cpu_ms for run in many):.2f}",
        )  # fmt: skip
    Console(width=120).print(table)
    for multipart in (False, True):
        pairs = zip(runs["ours", multipart], runs["bare", multipart], strict=True)
        ratios = [mine.per_s / theirs.per_s for mine, theirs in pairs]
        print(
            f"{'multipart' if multipart else 'raw'}: ours ÷ bare, uploads/s:"
            f" {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    _print_latency("answered 202, one client, raw", alone.waits_s)


def _print_latency(what: str, waits_s: Sequence[float]) -> None:
    print(
        f"{what}: p50 {percentile(waits_s, 0.5) * 1000:.1f} ms,"
        f" p99 {percentile(waits_s, 0.99) * 1000:.1f} ms, of {len(waits_s)}"
    )


def _stock() -> list[bytes]:
    """Return a few photos, padded to one size behind their end, where decoders ignore it."""
    with tempfile.TemporaryDirectory() as folder:
        made = [path.read_bytes() for path in make_photos(Path(folder), 0.3, 8)]
    return [photo + os.urandom(max(0, PHOTO_BYTES - len(photo))) for photo in made]


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--uploads", type=int, default=300, help="per run")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.uploads, options.rounds = 60, 2
    print_machine()
    os.environ |= {
        "SECRETS_KEY": make_secrets_key(),
        "INGRESS_REQUESTS_PER_SECOND": "100000",
    }
    photos = Photos(_stock())
    with webhooks.database(), broker():
        uvloop.run(measure(photos, options.uploads, options.rounds))


if __name__ == "__main__":
    main()
