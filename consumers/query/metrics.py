"""Prometheus metrics of the query role."""

import asyncio
from dataclasses import dataclass

from core.repeating import every
from core.storage.queries import queries
from core.telemetry.metrics import Metrics
from core.transaction import Database

INTERVAL_S = 5.0  # between looks at the queries that wait


@dataclass(frozen=True, slots=True)
class QueryMetrics:
    """Counts answers and lookups, and shows how many queries wait for uploads."""

    metrics: Metrics
    database: Database

    def answered(self, kind: str, seconds: float) -> None:
        """Count an answer, by its type (`query.completed` and so on)."""
        self.metrics.queries.labels(kind.rpartition(".")[2]).inc()
        self.metrics.query_seconds.observe(seconds)

    def looked_up(self, source: str, queries: int) -> None:
        """Count queries by where they were looked up."""
        self.metrics.query_lookups.labels(source).inc(queries)

    async def run(self, stop: asyncio.Event) -> None:
        """Show the queries that wait, every few seconds, until `stop` is set."""
        # An outage is logged by the loop; the last number stands.
        await every(self.show_parked, INTERVAL_S, stop)

    async def show_parked(self) -> None:
        """Count the queries that wait for an upload, in the whole archive.

        Raises:
            TransientError: the database is away.
        """
        async with self.database.connection() as connection:
            self.metrics.queries_parked.set(await queries.count_parked(connection))
