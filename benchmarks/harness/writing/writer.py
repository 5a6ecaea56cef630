"""A tagging process's writing: `python -m benchmarks.harness.writing.writer`, one JSON argument.

Per batch it does what the runtime does with a prepared one (`core/messaging/committing.py`): guard,
the role's `apply`, outbox, commit; then the events count as published and their rows are deleted,
while the next batch is written. It makes all batches before, says `ready`, and begins when told.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from benchmarks.harness.archives import Kind
from benchmarks.harness.writing.photos import Batch, Share, make_batches
from consumers.best_images import BestImages
from consumers.tagging.adapters import PostgresTags
from consumers.tagging.metrics import TaggingMetrics
from consumers.tagging.role import TaggingRole
from core.errors import PermanentError
from core.messaging.loop import calm_collector
from core.messaging.outbox import OutboxPublisher
from core.messaging.ports import RecordPublisher, Sent
from core.offsets import Identity, OutboxRow, Owner, Place
from core.settings import DatabaseSettings
from core.storage import labels
from core.storage.locks import ROWS
from core.storage.pool import Pool, open_pool
from core.storage.stream import outbox, progress
from core.tags import Postponed, Tagged, TagRequest
from core.telemetry.metrics import Metrics
from core.transaction import Transaction
from schemas.record import Record

APPLICATION, PUBLISHING = "bench-writer", "bench-publishing"
GROUP = "tagging"
READY = "ready"
QUIET_S = 30.0  # for the last events to leave


@dataclass(frozen=True, slots=True)
class Told:
    """What one process is told: its share, and the archive's kind."""

    url: str
    share: Share
    kind: Kind


@dataclass(frozen=True, slots=True)
class Timed:
    """One batch, in milliseconds, by this process's clock.

    Attributes:
        took: from before the transaction to after its commit.
        waited: for the lock of the best images; None: it did not need it.
        held: from then on to after the commit.
    """

    took: float
    waited: float | None
    held: float | None


@dataclass(slots=True)
class Acknowledging:
    """A publisher whose broker has everything at once."""

    published: int = 0

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        """Return a place for each record."""
        first = self.published
        self.published += len(records)
        return [Place(record.topic, 0, first + at) for at, record in enumerate(records)]


class WatchedTransaction:
    """A transaction that notes when it asked for the lock of the best images, and got it."""

    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self.asked: float | None = None
        self.got: float | None = None

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement."""
        if args != (ROWS,) or self.got is not None:
            return await self._inner.execute(query, *args)
        self.asked = time.perf_counter()
        said = await self._inner.execute(query, *args)
        self.got = time.perf_counter()
        return said

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None:
        """Run a statement once per argument row."""
        await self._inner.executemany(command, args)

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """Return all rows."""
        return await self._inner.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Any | None:
        """Return the first row, or None."""
        return await self._inner.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Return the first column of the first row, or None."""
        return await self._inner.fetchval(query, *args)


class NoPictures:
    """The ports for pictures, which nobody asks here."""

    async def read_all(self, uris: Sequence[str]) -> Sequence[bytes | PermanentError | Postponed]:
        """Raise: there are no pictures."""
        raise AssertionError(f"{len(uris)} pictures were to be read")

    async def keep(self, content: bytes) -> str:
        """Raise: there are no pictures."""
        raise AssertionError(f"{len(content)} bytes were to be kept")

    async def refresh(self) -> None:
        """Raise: there is no model."""
        raise AssertionError("the labels were to be looked at")

    async def tag_all(
        self, images: Sequence[bytes | PermanentError | Postponed], requests: Sequence[TagRequest]
    ) -> Sequence[Tagged | PermanentError | Postponed]:
        """Raise: there is no model."""
        raise AssertionError(f"{len(images)} pictures were to be tagged for {len(requests)}")


class Writer:
    """Writes one share's batches.

    Args:
        pool: for batches.
        outgoing: publishes and deletes the events, by connections of its own.
    """

    def __init__(self, pool: Pool, outgoing: OutboxPublisher, owner: Owner) -> None:
        table = PostgresTags(BestImages(is_softmax=True))
        metrics = TaggingMetrics(Metrics(CollectorRegistry()))
        self._role = TaggingRole(NoPictures(), NoPictures(), table, metrics)
        self._pool = pool
        self._outgoing = outgoing
        self._owner = owner

    async def server_pid(self) -> int:
        """Return the number of the server's process that its batches go to."""
        return int(await self._pool.fetchval("SELECT pg_backend_pid()"))

    async def write(self, batch: Batch) -> Timed:
        """Write a batch; raise if it was not ours to write."""
        began = time.perf_counter()
        async with self._pool.transaction() as inner:
            tx = WatchedTransaction(inner)
            rows = await self._transact(batch, tx)
        ended = time.perf_counter()
        self._outgoing.put(rows)
        if tx.asked is None or tx.got is None:
            return Timed((ended - began) * 1000, None, None)
        waited, held = tx.got - tx.asked, ended - tx.got
        return Timed((ended - began) * 1000, waited * 1000, held * 1000)

    async def _transact(self, batch: Batch, tx: Transaction) -> list[OutboxRow]:
        ours = await progress.advance(tx, self._owner, batch.moves)
        if len(ours) != len(batch.moves):
            raise RuntimeError(f"{len(ours)} of {len(batch.moves)} partitions are ours")
        outcome = await self._role.apply(batch.items, tx)
        return await outbox.add(tx, outcome.emitted)


@asynccontextmanager
async def open_writer(
    told: Told, publisher: RecordPublisher
) -> AsyncIterator[tuple[Writer, Iterator[Batch]]]:
    """Claim a share's partitions; yield what writes its batches, and these."""
    settings = DatabaseSettings(url=SecretStr(told.url))
    async with (
        open_pool(settings, application=APPLICATION) as pool,
        open_pool(settings, application=PUBLISHING) as beside,
    ):
        owner = Owner(GROUP, f"bench-{told.share.number}", 2, 128)
        async with pool.transaction() as tx:
            version = await labels.hold_version(tx)
            claims = await progress.claim(tx, owner, told.share.bids, Identity("bench", "bench"))
        (epoch,) = {claim.epoch for claim in claims}
        outgoing = OutboxPublisher(beside, outbox, publisher)
        publishing = asyncio.create_task(outgoing.run())
        batches = make_batches(told.share, told.kind, label_version=version, epoch=epoch)
        yield Writer(pool, outgoing, owner), batches
        await outgoing.quiet(QUIET_S)
        publishing.cancel()


async def run(told: Told) -> None:
    """Make all batches, wait for the word, write them, tell, and wait for the word to end."""
    async with open_writer(told, Acknowledging()) as (writer, made):
        batches = list(made)
        await _say({READY: await writer.server_pid()})
        cpu, began = time.process_time(), time.monotonic()
        timed = [await writer.write(batch) for batch in batches]
        ended, cpu = time.monotonic(), time.process_time() - cpu
        batches_told = [asdict(one) for one in timed]
        # The connections stay open until it is read: the server's processes have a CPU time.
        await _say({"began": began, "ended": ended, "cpu_s": cpu, "batches": batches_told})


async def _say(what: dict[str, object]) -> None:
    print(json.dumps(what), flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def main() -> None:
    """Read the arguments, write, tell."""
    given = json.loads(sys.argv[1])
    calm_collector()
    told = Told(given["url"], Share(**given["share"]), Kind(**given["kind"]))
    uvloop.run(run(told))


if __name__ == "__main__":
    main()
