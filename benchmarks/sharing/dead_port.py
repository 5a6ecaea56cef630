"""Measure a healthy receiver beside a dead one: on another port of its host, and at its own target.

    python -m benchmarks.sharing.dead_port [--quick]

The role's lanes on a real database. One owner has webhooks to a healthy receiver at a steady rate.
In the second run another owner has hundreds to a closed port of the same host, in the third as many
to addresses of the very same target that never answer. The wait is from the moment a webhook is due
until its receiver has all of it.
"""

import asyncio
import socket
import time

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.harness import webhooks
from benchmarks.harness.receivers import SILENT, Arrival, Receivers
from benchmarks.harness.report import Waits, goal
from benchmarks.harness.rows import run_alone
from schemas.callback import CallbackRequested, callback_id_of

HOST = "127.0.0.2"
RATE_PER_S = 20.0
WORKERS = 32
TIMEOUT_S = 5.0
DEAD = 300
WARM_S = 1.5
PATIENCE_S = 60.0


def closed_port() -> int:
    """Return a port of the host on which nobody listens."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])


async def run(
    url: str, receivers: Receivers, name: str, dead_url: str | None, seconds: float
) -> Waits:
    """Send at a steady rate to the healthy receiver, beside what is dead."""
    chosen = webhooks.settings(WORKERS, TIMEOUT_S)
    async with webhooks.opened(url, chosen) as parts:
        stop = asyncio.Event()
        running = asyncio.create_task(parts.lanes.run(stop))
        await parts.put([_event(receivers.url(HOST), "ann")])
        await asyncio.sleep(WARM_S)
        receivers.take()
        if dead_url is not None:
            await parts.put([_event(f"{dead_url}?{n}", "dead") for n in range(DEAD)])
            await asyncio.sleep(WARM_S)
        due: dict[str, float] = {}
        began = time.monotonic()
        for number in range(round(seconds * RATE_PER_S)):
            await asyncio.sleep(max(0.0, began + number / RATE_PER_S - time.monotonic()))
            event = _event(receivers.url(HOST), "ann")
            due[str(callback_id_of(event.query_id))] = time.monotonic()
            await parts.put([event])
        arrivals = await _collected(receivers, set(due))
        stop.set()
        await running
    seen = {one.webhook_id: one.at_s for one in reversed(arrivals)}
    now = time.monotonic()
    waits = [seen.get(webhook_id, now) - at for webhook_id, at in due.items()]
    return Waits(name, waits, len(due.keys() - seen.keys()))


async def _collected(receivers: Receivers, wanted: set[str]) -> list[Arrival]:
    """Wait until all have arrived, or the time is over."""
    arrivals: list[Arrival] = []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        arrivals += receivers.take()
        if wanted <= {one.webhook_id for one in arrivals}:
            break
        await asyncio.sleep(0.1)
    return arrivals


def _event(url: str, owner: str) -> CallbackRequested:
    return webhooks.no_match(url, "a heron").model_copy(update={"owner": owner})


async def runs(url: str, receivers: Receivers, *, quick: bool) -> list[Waits]:
    """Run all three."""
    seconds = 5.0 if quick else 30.0
    dead_port = f"http://{HOST}:{closed_port()}/hook"
    dead_path = receivers.url(HOST).replace("/hook", SILENT)
    return [
        await run(url, receivers, "alone", None, seconds),
        await run(url, receivers, "a dead port on its host", dead_port, seconds),
        await run(url, receivers, "dead addresses at its target", dead_path, seconds),
    ]


def measure(*, quick: bool) -> None:
    """Measure, print the table and the goals."""
    with webhooks.database() as url, Receivers({HOST: "ok"}) as receivers:
        found = uvloop.run(runs(url, receivers, quick=quick))
    table = Table(title=f"A healthy receiver at {RATE_PER_S:g}/s beside {DEAD} dead webhooks")
    for column in ("beside", "webhooks", "missing", "p50 ms", "p95 ms", "p99 ms", "max ms"):
        table.add_column(column)
    for one in found:
        table.add_row(
            one.name, str(len(one.seconds)), str(one.missing), f"{one.ms(0.5):.1f}",
            f"{one.ms(0.95):.1f}", f"{one.ms(0.99):.1f}", f"{max(one.seconds) * 1000:.0f}",
        )  # fmt: skip
    Console(width=100).print(table)
    alone, port, address = found
    ratio = port.ms(0.95) / alone.ms(0.95)
    goal("healthy port beside a dead one ÷ without, p95", ratio, 1.5, unit="×", at_most=True)
    ratio = address.ms(0.95) / alone.ms(0.95)
    goal("beside dead addresses at its own target ÷ without, p95", ratio, 3, unit="×", at_most=True)
    missing = port.missing + address.missing
    goal("healthy webhooks that never arrived", missing, 0, unit="", at_most=True)


if __name__ == "__main__":
    run_alone(measure)
