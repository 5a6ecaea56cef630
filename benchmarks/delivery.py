"""Webhooks per second and CPU per webhook: bare HTTP clients, and ours from due row to outcome.

    python -m benchmarks.delivery [--quick] [--workers 32]

Receivers are 20 hosts in another process on the same cores, and PostgreSQL runs there too: rely on
the ratios, and on the CPU of this process. Its garbage collector has our processes' settings for
all lines. "Bare" posts finished bytes and drops the answer. "Ours" claims due rows, fetches the
picture, strips its metadata, encodes, signs, checks the address, posts, and records attempt and
outcome.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import aiohttp
import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport
from rich.console import Console
from rich.table import Table

from benchmarks.harness import webhooks
from benchmarks.harness.receivers import Receivers
from benchmarks.harness.report import goal, percentile, print_machine
from core.messaging.loop import calm_collector
from schemas.callback import CallbackRequested

HOSTS = tuple(f"127.0.0.{number}" for number in range(2, 22))
SMALL, LARGE = 1_000, 300_000
PHOTOS = 20
CHOSEN = "httpx on aiohttp"
HEADERS = {"content-type": "application/json"}

Post = Callable[[str, bytes], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One line of the table."""

    name: str
    size_bytes: int
    posts: int
    seconds: float
    cpu_s: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Return the posts per second."""
        return self.posts / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Return milliseconds of this process's CPU per post."""
        return self.cpu_s / self.posts * 1000


async def bare(name: str, size: int, posts: int, workers: int, receivers: Receivers) -> Measured:
    """Post the same bytes repeatedly, `workers` at a time."""
    body = b"x" * size
    async with AsyncExitStack() as stack:
        post = await stack.enter_async_context(_client(name, workers))
        urls = [receivers.url(HOSTS[number % len(HOSTS)]) for number in range(posts)]
        for url in urls[: 2 * len(HOSTS)]:  # opens the connections before the clock starts
            await post(url, body)
        waiting = iter(urls)
        took: list[float] = []

        async def work() -> None:
            for url in waiting:
                began = time.monotonic()
                await post(url, body)
                took.append(time.monotonic() - began)

        began, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(work() for _ in range(workers)))
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    return Measured(name, size, posts, seconds, cpu, percentile(took, 0.99) * 1000)


class _client:  # noqa: N801 - reads as a function
    """Yield the `post` function of a bare client, chosen by its name."""

    def __init__(self, name: str, workers: int) -> None:
        self._name, self._workers = name, workers
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Post:
        if self._name == "aiohttp":
            session = await self._stack.enter_async_context(aiohttp.ClientSession())
            return _by_aiohttp(session)
        client = await self._stack.enter_async_context(_httpx_client(self._name))
        return lambda url, body: client.post(url, content=body, headers=HEADERS)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def _by_aiohttp(session: aiohttp.ClientSession) -> Post:
    async def post(url: str, body: bytes) -> None:
        async with session.post(url, data=body, headers=HEADERS) as response:
            await response.read()

    return post


def _httpx_client(name: str) -> Any:
    if name == CHOSEN:
        return httpx.AsyncClient(transport=AiohttpTransport(), timeout=30)
    return import_module(name).AsyncClient(timeout=30)


async def ours(
    url: str, name: str, size: int, posts: int, workers: int, receivers: Receivers
) -> Measured:
    """Deliver `posts` due webhooks with the role's own parts."""
    chosen = webhooks.settings(workers)
    copies = 0 if name.endswith("new pictures") else None
    async with webhooks.opened(url, chosen, copies_bytes=copies) as parts:
        targets = [receivers.url(HOSTS[number % len(HOSTS)]) for number in range(posts)]
        warm = targets[: 4 * len(HOSTS)]
        events = await _events(parts, targets, size)
        await parts.put(await _events(parts, warm, size))
        await parts.drain(within_s=120)  # opens connections, makes the hosts known
        parts.counter.ended.clear()
        await parts.put(events)
        # Autovacuum does this within a minute; until then the plans are those of an empty table.
        await parts.pool.execute("ANALYZE deliveries, attempts, lanes")
        began, cpu = time.monotonic(), time.process_time()
        await parts.drain(within_s=300, attempts=posts)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        tried = parts.counter.ended
        if len(tried) != posts or any(one.settled.state != "delivered" for one in tried):
            raise SystemExit(f"{len(tried)} attempts for {posts} webhooks, not all delivered")
    return Measured(
        name, size, posts, seconds, cpu, percentile([one.attempt.took_ms for one in tried], 0.99)
    )


async def _events(
    parts: webhooks.Delivering, targets: list[str], size: int
) -> list[CallbackRequested]:
    if size == SMALL:
        return [webhooks.no_match(target, "c" * 700) for target in targets]
    photos = [webhooks.make_photo(number, size * 3 // 4) for number in range(PHOTOS)]
    ids = await webhooks.keep_photos(parts.pool, photos)
    return [webhooks.with_picture(target, ids[n % PHOTOS]) for n, target in enumerate(targets)]


def clients() -> list[str]:
    """Return the names of the bare clients that are installed."""
    names = ["aiohttp", CHOSEN, "httpx"]
    try:
        import_module("httpx2")
    except ImportError:
        return names
    return [*names, "httpx2"]


async def measure(url: str, *, quick: bool, workers: int) -> list[Measured]:
    """Measure all lines."""
    small, large = (1000, 500) if quick else (6000, 3000)
    found = []
    modes = dict.fromkeys(HOSTS, "ok")
    with Receivers(modes) as receivers:
        for size, posts in ((SMALL, small), (LARGE, large)):
            for name in clients():
                share = 1 if name in {"aiohttp", CHOSEN} else 4  # the others are slow
                found.append(await bare(name, size, posts // share, workers, receivers))
            names = ["ours"] if size == SMALL else ["ours, pictures seen", "ours, new pictures"]
            for name in names:
                share = 4 if name.endswith("new pictures") else 1
                found.append(await ours(url, name, size, posts // share, workers, receivers))
    return found


def print_results(found: list[Measured]) -> None:
    """Print the table and the goals."""
    table = Table(title="Webhooks")
    for column in ("body", "client", "posts", "posts/s", "CPU ms/post", "p99 ms"):
        table.add_column(column)
    for one in found:
        body = "1 kB" if one.size_bytes == SMALL else "300 kB"
        table.add_row(
            body, one.name, str(one.posts), f"{one.rate:.0f}", f"{one.cpu_ms:.2f}",
            f"{one.p99_ms:.0f}",
        )  # fmt: skip
    Console(width=100).print(table)
    for size, name in ((SMALL, "ours"), (LARGE, "ours, pictures seen")):
        bare_rate = next(m.rate for m in found if (m.size_bytes, m.name) == (size, CHOSEN))
        our_rate = next(m.rate for m in found if (m.size_bytes, m.name) == (size, name))
        label = "1 kB" if size == SMALL else "300 kB"
        share = our_rate / bare_rate
        goal(f"delivery {label}, of bare {CHOSEN}", share, 0.80, unit="", at_most=False)


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--workers", type=int, default=32)
    options = parser.parse_args()
    print_machine()
    print("clients: " + ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "httpx")))
    calm_collector()
    with webhooks.database() as url:
        found = uvloop.run(measure(url, quick=options.quick, workers=options.workers))
    print_results(found)


if __name__ == "__main__":
    main()
