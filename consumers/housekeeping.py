"""The pruner: a companion of the delivery role that keeps what grows within its retention."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog

from core.errors import TransientError
from core.settings import RetentionSettings
from core.storage import retention
from core.transaction import Transaction

log = structlog.get_logger(__name__)

INTERVAL_S = 600.0
#: Bytes and vectors that nothing refers to, places of published uploads, previews of labels: not
#: settings, since nobody can ask for them any more, or asks again.
UNREFERENCED = timedelta(days=1)


def ages(settings: RetentionSettings) -> dict[str, timedelta]:
    """Give how old the rows of each table may become; 0 days in the settings: for ever."""
    days = {
        "queries": settings.queries_days,
        "deliveries": settings.deliveries_days,
        "failures": settings.failures_days,
        "dead_letters": settings.dead_letters_days,
        "host_events": settings.host_events_days,
    }
    kept = {table: timedelta(days=number) for table, number in days.items() if number}
    gone = ("outbox_places", "blobs", "embeddings", "label_previews")
    return kept | dict.fromkeys(gone, UNREFERENCED)


class Pruner:
    """Prunes every ten minutes, in portions, until stopped."""

    def __init__(
        self,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        settings: RetentionSettings,
    ) -> None:
        self._transaction = transaction
        self._ages = ages(settings)

    async def run(self, stop: asyncio.Event) -> None:
        """Prune until `stop` is set; a database that is away is asked again next time."""
        while not stop.is_set():
            try:
                while await self.prune_portion() and not stop.is_set():
                    pass
            except TransientError as error:
                log.warning("prune_failed", error=str(error))
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def prune_portion(self) -> bool:
        """Prune one portion of each table; give whether there may be more."""
        async with self._transaction() as tx:
            gone = await retention.prune(tx, self._ages)
        if any(gone.values()):
            log.info("pruned", **gone)
        return any(rows == retention.PORTION for rows in gone.values())
