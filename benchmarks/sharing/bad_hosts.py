"""Measure whether a bad callback host delays the others: our lanes, and a plain loop beside them.

    python -m benchmarks.sharing.bad_hosts [--quick]

First there are 20 healthy hosts; then also one that never answers, one that takes 5 s, one that
resets and one that sends a byte a second. Each host gets webhooks by a Poisson process of the same
rate. The wait is measured from the moment a webhook is due until its host has received all of it.
The plain loop is the simplest design: one queue, the same number of workers for all hosts, the same
client, unsigned bodies kept in memory, a failed webhook put back after its delay.
"""

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.harness import webhooks
from benchmarks.harness.receivers import Arrival, Receivers
from benchmarks.harness.report import goal, percentile
from benchmarks.harness.rows import run_alone
from core.egress.client import GuardedClient, open_client
from core.errors import TargetUnreachable
from schemas.callback import callback_id_of

SEED = 20260501
HEALTHY = tuple(f"127.0.0.{number}" for number in range(2, 22))
BAD = {"127.0.1.1": "silent", "127.0.1.2": "slow", "127.0.1.3": "reset", "127.0.1.4": "drip"}
MODES = dict.fromkeys(HEALTHY, "ok") | BAD
WARM_S = 2.0
RETRY_S = 5.0  # delay of the plain loop; equals the first delay of our schedule
PATIENCE_S = 20.0  # time after the load for webhooks that still wait
TIMEOUT_S = 30.0
RATE = 4.0  # webhooks per second and host
WORKERS = 32


Put = Callable[[str], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Load:
    """Poisson load: `rate` webhooks per second and host for `seconds`.

    `patience_s` is the time after the load during which late webhooks are still waited for.
    """

    rate: float
    seconds: float
    workers: int
    patience_s: float

    def moments(self, hosts: Sequence[str]) -> list[tuple[float, str]]:
        """Return when each webhook becomes due, in seconds from the start; the same in all runs."""
        moments = []
        for host in hosts:
            chance = random.Random(f"{SEED} {host}")
            at = chance.expovariate(self.rate)
            while at < self.seconds:
                moments.append((at, host))
                at += chance.expovariate(self.rate)
        return sorted(moments)


@dataclass(frozen=True, slots=True)
class Result:
    """The waits at the healthy hosts in one run."""

    name: str
    sent: int
    missing: int
    duplicates: int
    waits_s: list[float]
    memory_mib: tuple[float, float]

    def ms(self, share: float) -> float:
        """Return a percentile of the waits in milliseconds."""
        return percentile(self.waits_s, share) * 1000


async def ours(
    receivers: Receivers, url: str, name: str, hosts: Sequence[str], load: Load
) -> Result:
    """Run the role's lanes."""
    chosen = webhooks.settings(load.workers, TIMEOUT_S)
    async with webhooks.opened(url, chosen) as parts:
        due: dict[str, tuple[str, float]] = {}

        async def put(host: str) -> None:
            event = webhooks.no_match(receivers.url(host), "cats on the beach")
            due[str(callback_id_of(event.query_id))] = (host, time.monotonic())
            await parts.put([event])

        stop = asyncio.Event()
        running = asyncio.create_task(parts.lanes.run(stop))
        arrivals, memory = await _measured(receivers, hosts, load, put, due)
        stop.set()
        await running
    return _result(name, due, arrivals, memory)


async def plain(receivers: Receivers, name: str, hosts: Sequence[str], load: Load) -> Result:
    """Run one queue and one pool of workers for all hosts."""
    async with open_client(webhooks.EGRESS) as client:
        due: dict[str, tuple[str, float]] = {}
        queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

        async def put(host: str) -> None:
            message_id = f"m{len(due)}"
            due[message_id] = (host, time.monotonic())
            queue.put_nowait((message_id, receivers.url(host)))

        workers = [asyncio.create_task(_plain_work(client, queue)) for _ in range(load.workers)]
        arrivals, memory = await _measured(receivers, hosts, load, put, due)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return _result(name, due, arrivals, memory)


async def _measured(
    receivers: Receivers,
    hosts: Sequence[str],
    load: Load,
    put: Put,
    due: dict[str, tuple[str, float]],
) -> tuple[list[Arrival], tuple[float, float]]:
    """Warm up, apply the load, wait; return the arrivals and the memory before and after."""
    for host in HEALTHY:
        await put(host)
    await asyncio.sleep(WARM_S)
    receivers.take()
    due.clear()
    before = _memory_mib()
    await _play(load.moments(hosts), put)
    arrivals = await _collect(receivers, due, load.patience_s)
    return arrivals, (before, _memory_mib())


async def _plain_work(client: GuardedClient, queue: "asyncio.Queue[tuple[str, str]]") -> None:
    loop = asyncio.get_running_loop()
    body = b"x" * 300
    while True:
        message_id, target = await queue.get()
        try:
            exchange = await client.post(
                target,
                content=body,
                headers={"webhook-id": message_id},
                timeout_s=TIMEOUT_S,
                body_s=2.0,
            )
            delivered = exchange.status < 300
        except TargetUnreachable:
            delivered = False
        if not delivered:
            loop.call_later(RETRY_S, partial(queue.put_nowait, (message_id, target)))


async def _play(moments: Sequence[tuple[float, str]], put: Put) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for at, host in moments:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            group.create_task(put(host))


async def _collect(
    receivers: Receivers, due: dict[str, tuple[str, float]], patience_s: float
) -> list[Arrival]:
    """Wait until every webhook of a healthy host has arrived, or until the time is over."""
    wanted = {name for name, (host, _) in due.items() if host in HEALTHY}
    arrivals: list[Arrival] = []
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        arrivals += receivers.take()
        if wanted <= {arrival.webhook_id for arrival in arrivals}:
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.5)  # repeats, if any, arrive late
    return arrivals + receivers.take()


def _result(
    name: str,
    due: dict[str, tuple[str, float]],
    arrivals: Sequence[Arrival],
    memory_mib: tuple[float, float],
) -> Result:
    wanted = {key: at for key, (host, at) in due.items() if host in HEALTHY}
    seen: Counter[str] = Counter()
    waits = []
    for arrival in arrivals:
        if arrival.webhook_id in wanted:
            if not seen[arrival.webhook_id]:
                waits.append(arrival.at_s - wanted[arrival.webhook_id])
            seen[arrival.webhook_id] += 1
    end = time.monotonic()
    waits += [end - at for key, at in wanted.items() if not seen[key]]  # still waiting
    return Result(
        name=name,
        sent=len(wanted),
        missing=len(wanted) - len(seen),
        duplicates=seen.total() - len(seen),
        waits_s=waits,
        memory_mib=memory_mib,
    )


def _memory_mib() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 2**20


async def runs(url: str, load: Load) -> list[Result]:
    """Run all four."""
    every = [*HEALTHY, *BAD]
    # One process for all runs: starting it, with all that is imported here, takes seconds.
    with Receivers(MODES) as receivers:
        return [
            await ours(receivers, url, "ours, healthy hosts alone", HEALTHY, load),
            await ours(receivers, url, "ours, with four bad hosts", every, load),
            await plain(receivers, "plain loop, healthy hosts alone", HEALTHY, load),
            await plain(receivers, "plain loop, with four bad hosts", every, load),
        ]


def print_results(found: Sequence[Result], load: Load) -> None:
    """Print the table and the goals."""
    table = Table(title=f"What 20 healthy hosts see, {load.rate:g}/s each, {load.seconds:g} s")
    for column in ("run", "due", "missing", "twice", "p50 ms", "p99 ms", "max ms", "RSS MiB"):
        table.add_column(column)
    for one in found:
        before, after = one.memory_mib
        table.add_row(
            one.name, str(one.sent), str(one.missing), str(one.duplicates), f"{one.ms(0.5):.0f}",
            f"{one.ms(0.99):.0f}", f"{max(one.waits_s) * 1000:.0f}", f"{before:.0f} → {after:.0f}",
        )  # fmt: skip
    Console(width=120).print(table)
    alone, mixed, _, plain_mixed = found
    print(f"plain loop with bad hosts: p99 {plain_mixed.ms(0.99) / mixed.ms(0.99):.0f} × ours")
    ratio = mixed.ms(0.99) / alone.ms(0.99)
    goal("healthy p99 with bad hosts ÷ without", ratio, 1.5, unit="×", at_most=True)
    goal("webhooks of healthy hosts missing", mixed.missing, 0, unit="", at_most=True)
    goal("webhooks of healthy hosts sent twice", mixed.duplicates, 0, unit="", at_most=True)
    growth = mixed.memory_mib[1] - mixed.memory_mib[0]
    goal("memory growth under load with bad hosts", growth, 32, unit="MiB", at_most=True)


def measure(*, quick: bool) -> None:
    """Measure, print the table and the goals."""
    seconds, patience_s = (4.0, 3.0) if quick else (60.0, PATIENCE_S)
    load = Load(RATE, seconds, WORKERS, patience_s)
    with webhooks.database() as url:
        found = uvloop.run(runs(url, load))
    print_results(found, load)


if __name__ == "__main__":
    run_alone(measure)
