"""Publishing the outbox: at once after a commit, and by a sweeper for what a crash left behind."""

import asyncio
from collections.abc import Sequence

import structlog

from core.errors import DatabaseAway, PermanentError, TransientError
from core.failpoints import reach
from core.messaging.limits import LOOP_LIMITS, LoopLimits
from core.messaging.ports import Outbox, Place, RecordPublisher, Sent, Waiting
from core.settings import OutboxSettings
from core.telemetry.metrics import Metrics
from schemas.record import Record

log = structlog.get_logger(__name__)

LONGEST_PAUSE_S = 30.0


class OutboxPublisher:
    """Publishes rows right after their commit. What fails here is left to the sweeper."""

    def __init__(self, outbox: Outbox, publisher: RecordPublisher) -> None:
        self._outbox = outbox
        self._publisher = publisher

    async def publish_now(self, ids: Sequence[int], records: Sequence[Record]) -> list[Sent]:
        """Publish committed rows and delete those that Kafka took.

        Bounded by the publisher's time limit. Never raises for a broker or database that is away:
        the rows are committed, and the sweeper finds them.

        Returns:
            One outcome per row, in order: its place, or why it is still in the outbox.
        """
        reach("dispatch.begun")
        sent = await self._publisher.publish(records)
        reach("dispatch.published")
        taken = [id_ for id_, outcome in zip(ids, sent, strict=True) if isinstance(outcome, Place)]
        try:
            await self._outbox.delete(taken)
        except DatabaseAway as error:
            log.warning("outbox_delete_failed", rows=len(taken), error=str(error))
        reach("dispatch.deleted")
        return sent


class Sweeper:
    """Finds rows that nobody published: at its start all of them, later those of a certain age.

    Any number may run at once, in any process: rows are locked while they are published, others
    skip them. A row may be published twice (a kill between the acknowledgement and the delete),
    with the same id.
    """

    def __init__(
        self,
        outbox: Outbox,
        publisher: RecordPublisher,
        settings: OutboxSettings,
        metrics: Metrics,
        limits: LoopLimits = LOOP_LIMITS,
    ) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._settings = settings
        self._limits = limits
        self._metrics = metrics
        self._after = 0  # rows that fail for the moment do not keep the rest from leaving

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop` is set; waits longer while Kafka or PostgreSQL is away."""
        age_s = 0.0  # what lies there at the start was left by the last life
        pause_s = self._limits.sweep_interval_s
        while not stop.is_set():
            try:
                while await self.sweep(age_s=age_s) and not stop.is_set():
                    pass
                waiting = await self._outbox.count(bound=self._settings.max_rows)
                self._metrics.outbox_rows.set(waiting)
                age_s, pause_s = self._settings.sweep_age_s, self._limits.sweep_interval_s
            except TransientError as error:
                log.warning("sweep_failed", error=str(error))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            await _wait(stop, pause_s)

    async def sweep(self, *, age_s: float) -> bool:
        """Publish one portion of rows at least this old; whether there may be more.

        Raises:
            TransientError: Kafka or PostgreSQL is away; nothing was lost.
        """
        limit = self._limits.sweep_max_rows
        async with self._outbox.transaction() as tx:
            rows = await self._outbox.lock_older(tx, age_s=age_s, limit=limit, after=self._after)
            self._after = rows[-1].id if len(rows) == limit else 0
            if not rows:
                return False
            reach("sweep.locked")
            sent = await self._publisher.publish([row.record for row in rows])
            reach("sweep.published")
            published = [
                (row.id, outcome)
                for row, outcome in zip(rows, sent, strict=True)
                if isinstance(outcome, Place)
            ]
            refused = [
                (row, outcome)
                for row, outcome in zip(rows, sent, strict=True)
                if isinstance(outcome, PermanentError)
            ]
            await self._outbox.settle(tx, published, refused)
            reach("sweep.settled")
        reach("sweep.done")
        self._count(len(published), refused)
        _raise_if_all_away(sent)
        return len(rows) == limit

    def _count(self, published: int, refused: Sequence[tuple[Waiting, PermanentError]]) -> None:
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


def _raise_if_all_away(sent: Sequence[Sent]) -> None:
    """A portion of which some rows fail for the moment is not asked for again at once."""
    for outcome in sent:
        if isinstance(outcome, TransientError):
            raise outcome


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
