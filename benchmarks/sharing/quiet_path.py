"""Measure the way from a committed answer to the POST: alone, at 200/s, and beside bad hosts.

    python -m benchmarks.sharing.quiet_path [--quick]

Kafka, PostgreSQL and the processes of the query and the delivery role are real. The answer's moment
is that of its commit record, by PostgreSQL's own timestamps; the POST has begun when the courier
notes the attempt's start. Lone queries come at moments that have nothing to do with any timer of
ours. The load is spread over 20 healthy hosts, and then over these and four bad ones.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from uuid import UUID, uuid4

import uvloop
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from benchmarks.harness.receivers import Receivers
from benchmarks.harness.report import Waits, goal
from benchmarks.harness.roles import Servers, running, servers
from benchmarks.harness.rows import run_alone
from benchmarks.sharing.bad_hosts import BAD, HEALTHY, MODES, SEED
from core.messaging.cloudevents import encode
from core.messaging.kafka.producer import Publisher
from core.settings import DatabaseSettings, KafkaSettings
from core.storage.pool import Pool, open_pool
from core.telemetry.metrics import Metrics
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.topics import QUERIES_SUBMITTED

RATE_PER_S = 200
GAP_S = (0.7, 1.9)  # between lone queries, drawn
WARM_PER_HOST = 5
START_S, PATIENCE_S = 120.0, 30.0
BOUND_MS = 20.0

_DELIVERED = """
SELECT count(*) FROM deliveries WHERE query_id = ANY($1::uuid[]) AND state = 'delivered'
"""
_WAITS = """
SELECT extract(epoch FROM a.started_at - pg_xact_commit_timestamp(q.xmin))::float8 AS wait_s
FROM queries q JOIN deliveries d USING (query_id)
LEFT JOIN attempts a ON a.delivery_id = d.delivery_id AND a.attempt = 1
WHERE q.query_id = ANY($1::uuid[])
"""


@dataclass(slots=True)
class Path:
    """The running roles, as a client sees them."""

    pool: Pool
    publisher: Publisher
    receivers: Receivers
    chance: random.Random

    async def ask(self, host: str) -> UUID:
        """Publish one query; return its id."""
        event = QuerySubmitted(
            query_id=uuid4(), text="a heron", callback_url=self.receivers.url(host)
        )
        (sent,) = await self.publisher.publish([_record(event)])
        if isinstance(sent, Exception):
            raise sent
        if event.query_id is None:
            raise RuntimeError("a query without its id")
        return event.query_id

    async def delivered(self, ids: Sequence[UUID], within_s: float) -> None:
        """Wait until the webhooks of these queries are delivered, or the time is over."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if await self.pool.fetchval(_DELIVERED, list(ids)) == len(ids):
                return
            await asyncio.sleep(0.1)

    async def warm(self) -> None:
        """Wait for the roles, and make every healthy host known."""
        await self.delivered([await self.ask(HEALTHY[0])], START_S)
        ids = [await self.ask(host) for host in HEALTHY for _ in range(WARM_PER_HOST)]
        await self.delivered(ids, PATIENCE_S)

    async def alone(self, count: int) -> Waits:
        """Ask one query at a time, all of one host, with pauses in between."""
        ids = []
        for _ in range(count):
            await asyncio.sleep(self.chance.uniform(*GAP_S))
            ids.append(await self.ask(HEALTHY[0]))
        return await self._waits(f"alone, {count} queries", ids)

    async def under_load(self, name: str, hosts: Iterator[str], seconds: float) -> Waits:
        """Ask at a steady rate; return the waits of the healthy hosts' webhooks."""
        began, asking = time.monotonic(), []
        for number in range(round(seconds * RATE_PER_S)):
            await asyncio.sleep(max(0.0, began + number / RATE_PER_S - time.monotonic()))
            host = next(hosts)
            asking.append((host, asyncio.create_task(self.ask(host))))
        ids = [await task for host, task in asking if host not in BAD]
        return await self._waits(name, ids)

    async def _waits(self, name: str, ids: Sequence[UUID]) -> Waits:
        await self.delivered(ids, PATIENCE_S)
        rows = await self.pool.fetch(_WAITS, list(ids))
        waits = [row["wait_s"] for row in rows if row["wait_s"] is not None]
        return Waits(name, waits, len(ids) - len(waits))


def _record(event: QuerySubmitted) -> Record:
    return encode(
        QUERIES_SUBMITTED,
        event,
        key=str(event.query_id),
        event_id=str(event.query_id),
        source="/bench",
        now=datetime.now(UTC),
    )


async def runs(at: Servers, receivers: Receivers, *, quick: bool) -> list[Waits]:
    """Run all three."""
    lone, seconds = (10, 5.0) if quick else (30, 30.0)
    chance = random.Random(SEED)
    mixed = [*HEALTHY, *BAD]
    async with (
        open_pool(DatabaseSettings(url=at.database)) as pool,
        Publisher(
            KafkaSettings(bootstrap_servers=at.kafka),
            Metrics(CollectorRegistry()),
            client_id="bench",
        ) as publisher,
    ):
        path = Path(pool, publisher, receivers, chance)
        await path.warm()
        found = [await path.alone(lone)]
        await path.under_load("warm", cycle(HEALTHY), 2.0)
        load = f"{RATE_PER_S}/s"
        found.append(await path.under_load(f"{load}, healthy hosts", cycle(HEALTHY), seconds))
        found.append(await path.under_load(f"{load}, with four bad", cycle(mixed), seconds))
        return found


def measure(*, quick: bool) -> None:
    """Measure, print the table and the goals."""
    with servers() as at, Receivers(MODES) as receivers, running(("query", "delivery")):
        found = uvloop.run(runs(at, receivers, quick=quick))
    table = Table(title="Answer committed → POST begun")
    for column in ("run", "webhooks", "not begun", "p50 ms", "p95 ms", "p99 ms", "max ms"):
        table.add_column(column)
    for one in found:
        table.add_row(
            one.name, str(len(one.seconds)), str(one.missing), f"{one.ms(0.5):.1f}",
            f"{one.ms(0.95):.1f}", f"{one.ms(0.99):.1f}", f"{max(one.seconds) * 1000:.0f}",
        )  # fmt: skip
    Console(width=100).print(table)
    alone, healthy, mixed = found
    goal("lone answer to POST, p50", alone.ms(0.5), BOUND_MS, unit="ms", at_most=True)
    goal(
        "answer to POST with four bad hosts, p95", mixed.ms(0.95), BOUND_MS, unit="ms", at_most=True
    )
    ratio = mixed.ms(0.95) / healthy.ms(0.95)
    goal("the same ÷ healthy hosts alone", ratio, 1.5, unit="×", at_most=True)
    goal("healthy hosts' webhooks not begun", mixed.missing, 0, unit="", at_most=True)


if __name__ == "__main__":
    run_alone(measure)
