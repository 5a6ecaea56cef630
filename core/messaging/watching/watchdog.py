"""The watchdog: it checks progress per partition, not heartbeats, and ends a stuck process.

With a dead committer fetching and heartbeats look healthy (docs/research/runtime.md, section 2.4);
only when the process ends do others get its partitions.
"""

import asyncio
import faulthandler
import sys
import time
from collections.abc import Collection, Mapping

import structlog

from core.errors import TransientError
from core.messaging.ports import Bounds, GroupClient
from core.messaging.session import Session
from core.messaging.watching.backlog import Backlog, BacklogMeter
from schemas.record import Partition

log = structlog.get_logger(__name__)

#: A stall with a known cause (something outside is away) may last so many times longer. It is not
#: waited for for ever: the cause may be our own connection pool. The end of such a process is no
#: death that a record is charged with.
PATIENCE = 5
#: Kafka's own limit of a transaction is a minute, unless its producer asks for more. One that is
#: open for longer was forgotten, or holds back whoever reads the topic for a reason.
OPEN_TRANSACTION_S = 60.0
_STDERR = 2  # the descriptor; `sys.stderr` may be replaced by an object that has none


class Stalled(RuntimeError):
    """Partitions that have records waiting have not moved for too long. Ends the process.

    Attributes:
        waits_for: the outage that is waited for; None: nothing outside is known to be away.
    """

    def __init__(self, message: str, *, waits_for: str | None) -> None:
        super().__init__(message)
        self.waits_for = waits_for


class ProgressWatch:
    """Finds partitions without progress although records wait, and since when. Pure.

    A batch may take longer than a stall may last: while parts of batches are being completed, the
    partitions in hand count as moving. Since every batch ends, a stuck committer is found soon
    after.
    """

    def __init__(self) -> None:
        self._since: dict[Partition, tuple[int, float]] = {}
        self._parts_done = 0

    def look(
        self,
        progress: Mapping[Partition, int | None],
        ends: Mapping[Partition, int],
        now: float,
        *,
        parts_done: int = 0,
        in_hand: Collection[Partition] = (),
    ) -> dict[Partition, float]:
        """Return the seconds for which each partition with lag has not moved.

        Args:
            progress: next offset of each partition that we hold; None: not claimed yet.
            ends: where the logs end for readers of committed records, as far as known.
            now: seconds, monotonic.
            parts_done: parts of batches prepared so far.
            in_hand: partitions whose records were fetched and wait for their batch.
        """
        is_busy, self._parts_done = parts_done != self._parts_done, parts_done
        stalls: dict[Partition, float] = {}
        seen: dict[Partition, tuple[int, float]] = {}
        for partition, offset in progress.items():
            position = -1 if offset is None else offset
            before = self._since.get(partition)
            moved = before is None or before[0] != position
            moved = moved or (is_busy and partition in in_hand)
            has_lag = offset is None or ends.get(partition, 0) > offset
            since = now if moved or not has_lag or before is None else before[1]
            seen[partition] = (position, since)
            stalls[partition] = now - since
        self._since = seen
        return stalls


class Watchdog:
    """Measures lag, and ends the process when a partition stands still without a reason."""

    def __init__(self, session: Session, client: GroupClient) -> None:
        self._session = session
        self._client = client
        self._watch = ProgressWatch()
        self._meter = BacklogMeter()
        self._bounds: dict[Partition, Bounds] = {}
        self._shown: set[Partition] = set()
        self._told: set[tuple[Partition, int]] = set()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            Stalled: after the stacks of all tasks and threads were written to stderr.
        """
        limit_s = self._session.settings.stall_limit_s
        loop = asyncio.get_running_loop()
        try:
            while True:
                # This timer of the C library ends the process if the event loop itself is blocked.
                faulthandler.dump_traceback_later(limit_s * 2, exit=True, file=_STDERR)
                await self._measure()
                self._end_if_stalled(loop.time(), limit_s)
                await asyncio.sleep(min(5.0, limit_s / 10))
        finally:
            faulthandler.cancel_dump_traceback_later()

    async def _measure(self) -> None:
        session, tracker = self._session, self._session.tracker
        held = sorted(tracker.wanted)
        states = {
            "ready": len(tracker.ready()),
            "claiming": len(tracker.unclaimed()),
            "halted": len(tracker.halted),
        }
        for state, count in states.items():
            session.metrics.consumer_partitions.labels(session.group, state).set(count)
        session.metrics.consumer_isolated.labels(session.group).set(tracker.isolating())
        session.show_halts()
        if held:
            try:
                bounds = await self._client.bounds(held)
            except TransientError as error:
                session.wait_for("bounds", error)
                log.info("lag_unknown", error=str(error))
                return
            session.wait_for("bounds", None)
            self._bounds = bounds
        session.backlog = self._meter.measure(
            tracker.progress(), self._bounds, tracker.waiting_since_ms(), at_s=time.time()
        )
        self._show(session.backlog)
        self._tell_of_transactions(session.backlog)

    def _show(self, backlog: Mapping[Partition, Backlog]) -> None:
        """Show what waits in our partitions; that of others is shown by their owners."""
        metrics, group = self._session.metrics, self._session.group
        for partition in self._shown - backlog.keys():
            metrics.consumer_lag.remove(group, *map(str, partition))
            metrics.consumer_held.remove(group, *map(str, partition))
        for partition, waiting in backlog.items():
            labels = (group, *map(str, partition))
            metrics.consumer_lag.labels(*labels).set(waiting.records)
            metrics.consumer_held.labels(*labels).set(waiting.held_s)
        oldest_s = max((waiting.oldest_s for waiting in backlog.values()), default=0.0)
        metrics.consumer_age.labels(group).set(oldest_s)
        self._session.vitals.sees(sum(one.records for one in backlog.values()), oldest_s)
        self._shown = set(backlog)

    def _tell_of_transactions(self, backlog: Mapping[Partition, Backlog]) -> None:
        """Write once of each transaction that is open for longer than one usually may be.

        Heartbeats tell of it for as long as it lasts.
        """
        told: set[tuple[Partition, int]] = set()
        held: list[dict[str, object]] = []
        for partition, waiting in sorted(backlog.items()):
            if waiting.held_s < OPEN_TRANSACTION_S:
                continue
            key = (partition, self._bounds[partition].stable)
            told.add(key)
            held.append(
                {
                    "topic": partition.topic,
                    "partition": partition.number,
                    "offset": key[1],
                    "records": waiting.held_records,
                    "seconds": round(waiting.held_s),
                }
            )
            if key not in self._told:
                log.warning(
                    "transaction_open",
                    topic=partition.topic,
                    partition=partition.number,
                    offset=key[1],
                    records=waiting.held_records,
                    seconds=round(waiting.held_s),
                )
        self._told = told
        self._session.vitals.about["open_transactions"] = held

    def _end_if_stalled(self, now: float, limit_s: float) -> None:
        tracker = self._session.tracker
        claimed = tracker.progress()
        held = {p: claimed.get(p) for p in tracker.wanted if p not in tracker.halted}
        stalls = self._watch.look(
            held,
            {partition: bounds.stable for partition, bounds in self._bounds.items()},
            now,
            parts_done=self._session.parts_done,
            in_hand=self._in_hand(claimed),
        )
        if self._session.waiting_for is not None:
            limit_s *= PATIENCE
        stalled = {p.number: round(since) for p, since in stalls.items() if since > limit_s}
        if stalled:
            cause = self._session.waiting_for
            log.error("stalled", partitions=stalled, waiting_for=cause)
            _write_stacks()
            raise Stalled(
                f"no progress for {limit_s:.0f} s although records wait: {stalled}", waits_for=cause
            )

    def _in_hand(self, claimed: Mapping[Partition, int]) -> Collection[Partition]:
        """Return partitions that wait for a batch: while the queue is full, all of them do."""
        if self._session.queue.is_half_empty:
            return self._session.tracker.in_hand()
        return claimed.keys()


def _write_stacks() -> None:
    faulthandler.dump_traceback(file=_STDERR)
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.__stderr__)
