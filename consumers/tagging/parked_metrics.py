"""Prometheus metrics of parked images."""

import asyncio
from dataclasses import dataclass

from core.repeating import every
from core.storage.archive import parked_images
from core.storage.archive.parked_images import Waiting
from core.tags import Slowness
from core.telemetry.metrics import Metrics
from core.transaction import Database

INTERVAL_S = 5.0  # between looks at the images that wait


@dataclass(frozen=True, slots=True)
class ParkedMetrics:
    """Shows how many images of the whole archive are parked, and since when."""

    metrics: Metrics
    database: Database

    async def run(self, stop: asyncio.Event) -> None:
        """Show them every few seconds, until `stop` is set."""
        # An outage is logged by the loop; the last numbers stand.
        await every(self.show, INTERVAL_S, stop)

    async def show(self) -> None:
        """Count them.

        Raises:
            TransientError: the database is away.
        """
        async with self.database.connection() as connection:
            waiting = await parked_images.waiting(connection)
        for why in Slowness:
            found = waiting.get(why, Waiting(0, 0.0))
            self.metrics.images_parked.labels(why.value).set(found.images)
            self.metrics.images_parked_oldest.labels(why.value).set(found.oldest_s)
        self.metrics.signs.part("tagging_slow").sees(
            sum(one.images for one in waiting.values()),
            max((one.oldest_s for one in waiting.values()), default=None),
        )
