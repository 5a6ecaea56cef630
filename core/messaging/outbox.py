"""Publishing the outbox: at once after a commit, and by a sweeper for what was left behind."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import structlog

from core.errors import BrokerAway, PermanentError, TransientError
from core.failpoints import reach
from core.messaging.limits import LOOP_LIMITS, LoopLimits
from core.messaging.ports import Outbox, RecordPublisher, Sent
from core.offsets import OutboxRow, Place
from core.repeating import pause
from core.settings import OutboxSettings
from core.telemetry.metrics import Metrics
from core.transaction import Database, Transaction
from schemas.record import Record

log = structlog.get_logger(__name__)

T = TypeVar("T")

MOST_PER_CALL = 2_000
#: Beyond this number rows are left to the sweeper, so that no backlog builds up in memory.
MOST_QUEUED = 20_000
#: After a failure `publish_within` does not try for so long: the rows wait for the sweeper.
AWAY_S = 2.0
LONGEST_PAUSE_S = 30.0


class OutboxPublisher:
    """Publishes rows that were just committed. What fails here is left to the sweeper.

    Three ways to wait: `publish` until all is known, `publish_within` for a limited time, and `put`
    not at all. No way raises for a broker or a database that is away: the rows are committed.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        publisher: RecordPublisher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.publisher = publisher
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._away_until = float("-inf")
        self._running: set[asyncio.Task[Any]] = set()
        self._queue: deque[OutboxRow] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        """Write rows, to be published once `tx` has committed; return them in order."""
        return await self._outbox.add(tx, records)

    async def count(self, *, bound: int) -> int:
        """Return how many rows wait; exact up to `bound`.

        Raises:
            DatabaseAway: it cannot be counted.
        """
        async with self._database.connection() as connection:
            return await self._outbox.count(connection, bound=bound)

    async def publish(self, rows: Sequence[OutboxRow]) -> list[Sent]:
        """Publish rows and delete those that Kafka took, within the publisher's time limit.

        Returns:
            One outcome per row, in order: its place, or why it is still in the outbox.
        """
        if not rows:
            return []
        reach("dispatch.begun")
        sent = await self.publisher.publish([row.record for row in rows])
        reach("dispatch.published")
        await self._delete(rows, sent)
        reach("dispatch.deleted")
        return sent

    async def publish_within(self, rows: Sequence[OutboxRow], wait_s: float) -> list[Sent] | None:
        """Publish rows; return one outcome per row, or None if that takes longer than `wait_s`.

        Publishing then goes on by itself, also if the caller is cancelled, and arrivals leave their
        places in the database, for who was given the row's id instead.
        """
        if self._clock() < self._away_until:
            return None
        publishing = self._begin(self.publisher.publish([row.record for row in rows]))
        try:
            async with asyncio.timeout(wait_s):
                sent = await asyncio.shield(publishing)
        except TimeoutError:
            self._begin(self._settle(rows, publishing))
            return None
        except asyncio.CancelledError:
            self._begin(self._settle(rows, publishing))
            raise
        self._note(sent)
        await self._delete(rows, sent)
        return sent

    async def drain(self, *, within_s: float) -> None:
        """Wait for what `publish_within` left running, at the end of the process."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=within_s)

    def put(self, rows: Sequence[OutboxRow]) -> None:
        """Hand rows over to `run`, which publishes them in the order of their commits."""
        if rows and len(self._queue) + len(rows) <= MOST_QUEUED:
            self._queue.extend(rows)
            self._idle.clear()
            self._arrived.set()

    async def run(self) -> None:
        """Publish what was put, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                count = min(MOST_PER_CALL, len(self._queue))
                await self.publish([self._queue.popleft() for _ in range(count)])
            self._idle.set()

    async def quiet(self, timeout_s: float) -> bool:
        """Wait until all that was put is published; False if it took too long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _delete(self, rows: Sequence[OutboxRow], sent: Sequence[Sent]) -> None:
        taken = [row.id for row, _ in _published(rows, sent)]
        if not taken:
            return
        try:
            async with self._database.connection() as connection:
                await self._outbox.delete(connection, taken)
        except TransientError as error:  # the sweeper publishes them again, with the same ids
            log.warning("outbox_delete_failed", rows=len(taken), error=str(error))

    async def _settle(
        self, rows: Sequence[OutboxRow], publishing: "asyncio.Task[list[Sent]]"
    ) -> None:
        sent = await publishing
        self._note(sent)
        published = list(_published(rows, sent))
        if not published:
            return
        try:
            async with self._database.transaction() as tx:
                await self._outbox.settle(tx, published, [])
        except TransientError as error:
            log.warning("outbox_delete_failed", rows=len(published), error=str(error))

    def _note(self, sent: Sequence[Sent]) -> None:
        if any(isinstance(outcome, TransientError) for outcome in sent):
            self._away_until = self._clock() + AWAY_S
            log.warning("broker_away", left_to_sweeper=len(sent))

    def _begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


class Sweeper:
    """Publishes rows that nobody published: at its start all of them, later those of a certain age.

    Any number may run at once, in any process: rows are locked while they are published, others
    skip them. A row may be published twice (a kill between the acknowledgement and the delete),
    with the same id.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        publisher: RecordPublisher,
        settings: OutboxSettings,
        metrics: Metrics,
        limits: LoopLimits = LOOP_LIMITS,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._publisher = publisher
        self._settings = settings
        self._metrics = metrics
        self._limits = limits
        self._after = 0  # rows that fail for the moment do not delay the others

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop` is set; wait longer while Kafka or PostgreSQL is away."""
        age_s = 0.0  # rows that exist at the start were left by an earlier process
        pause_s = self._limits.sweep_interval_s
        while not stop.is_set():
            try:
                try:
                    while await self.sweep(age_s=age_s) and not stop.is_set():
                        pass
                except BrokerAway:  # rows gather: their number matters most now
                    await self._note_waiting()
                    raise
                await self._note_waiting()
                age_s, pause_s = self._settings.sweep_age_s, self._limits.sweep_interval_s
            except TransientError as error:
                log.warning("sweep_failed", error=str(error))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            await pause(pause_s, stop)

    async def _note_waiting(self) -> None:
        async with self._database.connection() as connection:
            rows = await self._outbox.count(connection, bound=self._settings.max_rows)
        self._metrics.outbox_rows.set(rows)

    async def sweep(self, *, age_s: float) -> bool:
        """Publish one portion of rows at least this old; return whether there may be more.

        Raises:
            TransientError: Kafka or PostgreSQL is away; nothing was lost.
        """
        limit = self._limits.sweep_max_rows
        async with self._database.transaction() as tx:
            rows = await self._outbox.lock_older(tx, age_s=age_s, limit=limit, after=self._after)
            self._after = rows[-1].id if len(rows) == limit else 0
            if not rows:
                return False
            reach("sweep.locked")
            sent = await self._publisher.publish([row.record for row in rows])
            reach("sweep.published")
            published = list(_published(rows, sent))
            refused = [
                (row, outcome)
                for row, outcome in zip(rows, sent, strict=True)
                if isinstance(outcome, PermanentError)
            ]
            await self._outbox.settle(tx, published, refused)
            reach("sweep.settled")
        reach("sweep.done")
        self._count(len(published), refused)
        _raise_if_away(sent)
        return len(rows) == limit

    def _count(self, published: int, refused: Sequence[tuple[OutboxRow, PermanentError]]) -> None:
        self._metrics.outbox_swept.inc(published)
        self._metrics.outbox_quarantined.inc(len(refused))
        if published:
            log.info("outbox_swept", rows=published)
        for row, error in refused:
            log.error(
                "outbox_row_quarantined",
                outbox_id=row.id,
                topic=row.record.topic,
                reason=error.reason,
                error=str(error),
            )


def _published(
    rows: Sequence[OutboxRow], sent: Sequence[Sent]
) -> Iterator[tuple[OutboxRow, Place]]:
    """Yield the rows that Kafka took, each with its place."""
    for row, outcome in zip(rows, sent, strict=True):
        if isinstance(outcome, Place):
            yield row, outcome


def _raise_if_away(sent: Sequence[Sent]) -> None:
    """Raise the first outage: a portion with one is not asked for again at once."""
    for outcome in sent:
        if isinstance(outcome, TransientError):
            raise outcome
