"""The pruner: a companion of the delivery role that keeps what grows within its retention."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol

import structlog

from core.errors import PermanentError, TransientError
from core.settings import RetentionSettings
from core.storage import retention
from core.storage.retention import Portion
from core.transaction import Transaction

log = structlog.get_logger(__name__)

INTERVAL_S = 600.0
#: Portions of one table in a round: what a round leaves, the next goes on with.
PORTIONS_PER_ROUND = 500
#: Bytes and vectors that nothing refers to, places of published uploads, previews of labels: not
#: settings, since nobody can ask for them any more, or asks again.
UNREFERENCED = timedelta(days=1)
#: Names of processes that were never seen again; one that is still alive is written anew.
MEMBERS = timedelta(days=365)
#: The bytes that are kept outside of PostgreSQL, among the tables.
KEPT = "kept_bytes"
KEPT_PORTION = 500


class KeptBytes(Protocol):
    """Bytes outside of PostgreSQL: `core.blobs.store.BlobStore`."""

    async def kept(self, after: bytes, limit: int) -> Sequence[bytes]:
        """Return hashes of kept bytes in order, beginning after one."""
        ...

    async def discard(self, sha256: bytes, older_than: timedelta) -> bool:
        """Forget bytes, unless they were put more recently; give whether they went."""
        ...


def ages(settings: RetentionSettings) -> dict[str, timedelta]:
    """Return how old the rows of each table may become; 0 days in the settings: for ever."""
    days = {
        "queries": settings.queries_days,
        "deliveries": settings.deliveries_days,
        "failures": settings.failures_days,
        "dead_letters": settings.dead_letters_days,
        "host_events": settings.failures_days,
        "jobs": settings.jobs_days,
        "tombstones": settings.tombstones_days,
        "deleted_queries": settings.tombstones_days,
    }
    kept = {table: timedelta(days=number) for table, number in days.items() if number}
    gone = ("outbox_places", "label_previews", *retention.SWEPT, KEPT)
    return kept | dict.fromkeys(gone, UNREFERENCED) | {"members": MEMBERS}


class Pruner:
    """Prunes every ten minutes, in portions, until stopped.

    Args:
        failed: told the table of each portion that failed.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        bytes_outside: KeptBytes,
        settings: RetentionSettings,
        failed: Callable[[str], object],
    ) -> None:
        self._transaction = transaction
        self._bytes_outside = bytes_outside
        self._ages = ages(settings)
        self._failed = failed
        self._after: dict[str, bytes] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Prune until `stop` is set; what fails is tried again in the next round."""
        while not stop.is_set():
            await self.prune(stop)
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def prune(self, stop: asyncio.Event) -> dict[str, int]:
        """Do one round; give how many rows of each table went."""
        gone = {table: await self._prune_table(table, stop) for table in self._ages}
        if any(gone.values()):
            log.info("pruned", **{table: rows for table, rows in gone.items() if rows})
        return gone

    async def _prune_table(self, table: str, stop: asyncio.Event) -> int:
        """Prune portion by portion; a failure ends this table's round, and no other's."""
        rows = 0
        try:
            for _ in range(PORTIONS_PER_ROUND):
                portion = await self._portion(table)
                rows += portion.rows
                self._after[table] = portion.after or b""
                if portion.after is None or stop.is_set():
                    break
        except TransientError as error:  # the database is away: the next round may find it
            self._failed(table)
            log.warning("prune_postponed", table=table, error=str(error))
        except PermanentError as error:
            self._failed(table)
            log.error("prune_failed", table=table, error=str(error))  # noqa: TRY400 - expected
        return rows

    async def _portion(self, table: str) -> Portion:
        after, age = self._after.get(table, b""), self._ages[table]
        if table == KEPT:
            return await self._portion_of_kept(after, age)
        async with self._transaction() as tx:
            return await retention.prune(tx, table, age, after)

    async def _portion_of_kept(self, after: bytes, age: timedelta) -> Portion:
        digests = await self._bytes_outside.kept(after, KEPT_PORTION)
        async with self._transaction() as tx:
            unreferenced = await retention.unreferenced(tx, digests)
        gone = [await self._bytes_outside.discard(digest, age) for digest in unreferenced]
        return Portion(sum(gone), digests[-1] if len(digests) == KEPT_PORTION else None)
