"""Measure others' requests beside one key's 1,050 long polls, and beside 1,050 silent connections.

    python -m benchmarks.sharing.long_polls [--quick]

An ingress with its default of 1,000 connections. One client with a key of its own lists its queries
at a steady rate: alone, while another key keeps 1,050 long polls open (`?wait=30`, each sent again
as soon as it may), and while a client without a key keeps 1,050 connections open that say nothing.
The three follow each other several times in one run; each time is that of one request.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.harness import webhooks
from benchmarks.harness.report import goal, percentile
from benchmarks.harness.rows import run_alone
from benchmarks.uploads import Served, served
from core.webhooks.signing_secrets import make_key as make_secrets_key
from ingress import commands
from ingress.auth.api_keys import Scope

PORT = 27_360
GREEDY = 1050
PAUSE_S = 0.01
ALONE, POLLS, SILENT = "alone", "1,050 long polls of one key", "1,050 silent connections"


@dataclass(slots=True)
class Beside:
    """Others' requests in one situation, over all rounds."""

    medians_s: list[float] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    refused: int = 0
    memory_mib: float = 0.0


async def ask_steadily(http: aiohttp.ClientSession, seconds: float, found: Beside) -> None:
    """List queries one after the other, each time a moment later."""
    waits: list[float] = []
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        began = time.monotonic()
        async with http.get("/queries?limit=10") as response:
            await response.read()
            found.refused += response.status != 200
        waits.append(time.monotonic() - began)
        await asyncio.sleep(PAUSE_S)
    found.medians_s.append(statistics.median(waits))
    found.waits_s += waits


@asynccontextmanager
async def greedy(url: str, key: str, path: str) -> AsyncIterator[None]:
    """Run the greedy client in a process of its own while the block runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.sharing.greedy_client",
        *(url, str(GREEDY), key, path),
        stdout=subprocess.PIPE,
    )
    try:
        if process.stdout is None or not await process.stdout.readline():
            raise RuntimeError("the greedy client ended")
        yield
    finally:
        process.kill()
        await process.wait()


async def asked_query(http: aiohttp.ClientSession) -> str:
    """Submit a query that nobody answers; return where it may be waited for."""
    question = {"text": "a cat", "callback_url": "https://example.org/hook"}
    async with http.post("/images/tags", json=question) as response:
        document = await response.json()
        if response.status != 202:
            raise RuntimeError(document)
    return f"/queries/{document['query_id']}?wait=30"


async def compare(ours: Served, rounds: int, seconds: float) -> dict[str, Beside]:
    """Measure all situations in turn."""
    url = f"http://127.0.0.1:{PORT}"
    keys = [
        await commands.create(commands.KeyRequest(owner, scopes=(Scope.QUERY,)), if_absent=False)
        for owner in ("greedy", "modest")
    ]
    bad, good = (made.key if made else "" for made in keys)
    found = {name: Beside() for name in (ALONE, POLLS, SILENT)}
    async with (
        aiohttp.ClientSession(url, headers={"X-API-Key": bad}) as theirs,
        aiohttp.ClientSession(url, headers={"X-API-Key": good}) as http,
    ):
        path = await asked_query(theirs)
        await ask_steadily(http, seconds, Beside())  # warm
        for _ in range(rounds):
            await ask_steadily(http, seconds, found[ALONE])
            for name, key in ((POLLS, bad), (SILENT, "")):
                async with greedy(url, key, path):
                    await ask_steadily(http, seconds, found[name])
                    used = psutil.Process(ours.process.pid).memory_info().rss / 2**20
                    found[name].memory_mib = max(found[name].memory_mib, used)
    return found


def report(found: dict[str, Beside]) -> None:
    """Print the table and the goals."""
    table = Table(title="Others' requests (GET /queries)")
    for column in ("beside", "requests", "p50 ms", "p99 ms", "not answered 200", "ingress MiB"):
        table.add_column(column)
    for name, one in found.items():
        table.add_row(
            name, str(len(one.waits_s)), f"{percentile(one.waits_s, 0.5) * 1000:.2f}",
            f"{percentile(one.waits_s, 0.99) * 1000:.2f}", str(one.refused),
            f"{one.memory_mib:.0f}" if one.memory_mib else "",
        )  # fmt: skip
    Console(width=120).print(table)
    for name in (POLLS, SILENT):
        ratio = _ratio(found[name].medians_s, found[ALONE].medians_s)
        goal(f"others beside {name}, p50", ratio, 1.5, unit="x", at_most=True)
        refused = found[name].refused
        goal(f"others beside {name}, refused", refused, 0, unit="requests", at_most=True)


def _ratio(beside: Sequence[float], alone: Sequence[float]) -> float:
    return statistics.median(one / base for one, base in zip(beside, alone, strict=True))


def measure(*, quick: bool) -> None:
    """Measure and print."""
    os.environ |= {
        "SECRETS_KEY": make_secrets_key(),
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",  # nothing here waits for it
    }

    async def run() -> dict[str, Beside]:
        async with served("ours", PORT, "") as ours:
            return await compare(ours, 3 if quick else 7, 2.0 if quick else 8.0)

    with webhooks.database():
        report(uvloop.run(run()))


if __name__ == "__main__":
    run_alone(measure)
