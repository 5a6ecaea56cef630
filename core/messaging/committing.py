"""One transaction per batch.

The guard comes first and says which partitions are still ours; their effects, outbox rows and dead
letters follow, and all of it commits together with the new offsets.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from core.errors import (
    DatabaseAway,
    ProcessCrashed,
    RecordBroke,
    RecordRefused,
    TransientError,
)
from core.failpoints import reach
from core.messaging.batching import plan_moves
from core.messaging.budget import DeadLetterBudget
from core.messaging.claiming import FENCED_WAIT_S
from core.messaging.outbox import OutboxPublisher
from core.messaging.pipeline import Pipeline, Ready
from core.messaging.preparing import Made, Prepared
from core.messaging.role import Item, Notice, Outcome, trace_of
from core.messaging.session import RoleParts, Session
from core.messaging.spans import Times, place_of, record_spans
from core.messaging.watching.stage_timer import TimeAccount
from core.offsets import DeadLetter, Move, OutboxRow
from core.telemetry import tracing
from core.transaction import Transaction
from schemas.dead_letter import DeadLetterPlace
from schemas.record import Partition, Record
from schemas.topics import dead_letter_topic

log = structlog.get_logger(__name__)

DETAIL_CHARS = 300  # of a log line; the dead letter has all of it

E = TypeVar("E")
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class _Written:
    """What one committed transaction wrote."""

    ours: frozenset[Partition]
    letters: tuple[DeadLetter, ...]
    rows: Sequence[OutboxRow]
    notices: tuple[Notice, ...]


class Committer(Generic[E, P]):
    """Writes prepared batches, strictly in the order in which they were formed."""

    def __init__(
        self,
        session: Session,
        parts: RoleParts[E, P],
        pipeline: Pipeline[E, P],
        outbox: OutboxPublisher,
    ) -> None:
        self._session = session
        self._parts = parts
        self._pipeline = pipeline
        self._outbox = outbox
        self._dlq = dead_letter_topic(parts.topic.name, parts.group)
        self._budget = DeadLetterBudget(
            window=session.limits.dead_letter_window,
            max_share=session.limits.dead_letter_max_share,
        )
        self._account = TimeAccount(session.metrics, group=session.group, task="commit")
        self._prepared_at = Times(0, 0)

    async def run(self) -> None:
        """Commit one prepared batch after the other, until cancelled.

        Raises:
            Exception: a bug of the role; nothing of its batch is committed.
        """
        while True:
            self._account.enter("idle")
            # Passed straight on, so that no local variable keeps the last batch alive while we
            # wait for the next one. Freeing it early measured faster.
            await self._finish(await self._pipeline.ordered.get())

    async def _finish(self, task: asyncio.Task[Ready[E, P] | None]) -> None:
        self._account.enter("prepare")
        ready = await task
        self._account.enter("transaction")
        if ready is not None:
            self._prepared_at = ready.times
            await self._commit(ready.parts)
        self._pipeline.release()

    async def _commit(self, prepared: Sequence[Prepared[E, P]]) -> None:
        """Write a batch; where PostgreSQL refuses it, bisect it down to the refused record."""
        left = deque([list(prepared)])
        while left:
            ready = self._session.tracker.ready()
            portion = [one for one in left.popleft() if ready.get(one[0].partition) == one[0].epoch]
            if not portion:
                continue
            structlog.contextvars.bind_contextvars(**place_of([one for one, _ in portion]))
            try:
                await self._write(portion)
            except RecordRefused as error:
                log.warning("batch_refused", records=_count(portion), error=str(error))
                left.extendleft(reversed(_bisect(portion, error)))
            except TransientError as error:
                # The commit may have happened: the next claim reads where the partition stands.
                log.warning("transaction_failed", error=str(error))
                self._session.recover("transaction")

    async def _write(self, portion: Sequence[Prepared[E, P]]) -> None:
        session = self._session
        moves = plan_moves(partition_batch for partition_batch, _ in portion)
        with session.metrics.consumer_transaction_seconds.labels(session.group).time():
            written = await self._transact(portion, moves)
        for tell in written.notices:
            tell()
        session.tracker.committed(move for move in moves if move.partition in written.ours)
        fenced = [move.partition for move in moves if move.partition not in written.ours]
        if fenced:
            session.metrics.consumer_fenced.labels(session.group).inc(len(fenced))
            loop = asyncio.get_running_loop()
            session.claim_not_before = loop.time() + FENCED_WAIT_S
            session.recover("fenced", fenced)
        self._outbox.put(written.rows)
        if tracing.is_recording():
            name = f"{session.group} {self._parts.topic.name}"
            ours = [one for one in portion if one[0].partition in written.ours]
            record_spans(name, ours, self._prepared_at)
        self._count(portion, written)

    async def _transact(self, portion: Sequence[Prepared[E, P]], moves: Sequence[Move]) -> _Written:
        parts = self._parts
        try:
            async with (
                asyncio.timeout(self._session.limits.transaction_deadline_s),
                parts.database.transaction() as tx,
            ):
                reach("commit.begun")
                ours = await parts.ledger.advance(tx, parts.owner, moves)
                reach("commit.guarded")
                kept = (
                    portion
                    if len(ours) == len(moves)
                    else [one for one in portion if one[0].partition in ours]
                )
                items = [made for _, some in kept for made in some if isinstance(made, Item)]
                outcome = await self._applied(items, tx)
                reach("commit.applied")
                is_clean = not outcome.rejected and len(items) == _count(kept)
                letters = () if is_clean else self._letters(kept, outcome)
                await parts.dead_letters.add(tx, letters)
                reach("commit.set_aside")
                records = (*outcome.emitted, *map(self._copy, letters))
                rows = await parts.outbox.add(tx, records)
                reach("commit.outboxed")
        except TimeoutError as error:
            raise DatabaseAway("transaction deadline passed") from error
        reach("commit.done")
        return _Written(ours, letters, rows, outcome.notices)

    async def _applied(self, items: Sequence[Item[E, P]], tx: Transaction) -> Outcome:
        return await self._parts.role.apply(items, tx) if items else Outcome()

    def _letters(self, kept: Sequence[Prepared[E, P]], outcome: Outcome) -> tuple[DeadLetter, ...]:
        rejected = {(one.partition, one.offset): one.error for one in outcome.rejected}
        letters: list[DeadLetter] = []
        for partition_batch, results in kept:
            for (offset, timestamp_ms, record), made in zip(
                partition_batch.records, results, strict=True
            ):
                error = rejected.get((partition_batch.partition, offset))
                if error is None:
                    if isinstance(made, Item):
                        continue
                    error = made
                place = DeadLetterPlace(
                    self._parts.group, *partition_batch.partition, offset, error.reason, str(error)
                )
                cluster_id = self._session.identity.cluster_id
                letters.append(DeadLetter(place, cluster_id, record, timestamp_ms))
        return tuple(letters)

    def _copy(self, letter: DeadLetter) -> Record:
        record = letter.record
        headers = (*record.headers, *letter.place.headers())
        return Record(self._dlq, record.key, headers, record.value)

    def _count(self, portion: Sequence[Prepared[E, P]], written: _Written) -> None:
        metrics, group = self._session.metrics, self._session.group
        dead = {(letter.place.partition, letter.place.offset) for letter in written.letters}
        for letter in written.letters:
            metrics.consumer_dead_letters.labels(group, letter.place.reason).inc()
            log.warning(
                "record_set_aside",
                partition=letter.place.partition,
                offset=letter.place.offset,
                reason=letter.place.reason,
                detail=letter.place.detail[:DETAIL_CHARS],
                trace_id=tracing.trace_id(trace_of(letter.record)),
            )
        done = _count(one for one in portion if one[0].partition in written.ours)
        self._session.vitals.moved(done)
        metrics.consumer_records.labels(group, "dead_letter").inc(len(dead))
        metrics.consumer_records.labels(group, "done").inc(done - len(dead))
        if dead or self._session.breakages or not self._budget.is_untouched:
            self._spend(portion, written.ours, dead)

    def _spend(
        self,
        portion: Sequence[Prepared[E, P]],
        ours: frozenset[Partition],
        dead: set[tuple[int, int]],
    ) -> None:
        over: set[Partition] = set()
        for partition_batch, results in portion:
            partition = partition_batch.partition
            if partition not in ours:
                continue
            for (offset, _, _), made in zip(partition_batch.records, results, strict=True):
                is_dead = (partition.number, offset) in dead and _may_be_systematic(made)
                if self._budget.note(partition, dead=is_dead or _broke(made)):
                    over.add(partition)
        for partition in over:
            self._budget.forget(partition)
            self._session.halt(
                partition, "dead_letter_budget", remedy="see the reasons, then restart"
            )


def _count(prepared: Iterable[Prepared[E, P]]) -> int:
    """Return the number of records."""
    return sum(len(partition_batch) for partition_batch, _ in prepared)


def _broke(made: Made[E, P]) -> bool:
    """Return whether a record met a bug of ours; a role may deal with it without a dead letter."""
    return isinstance(made, Item) and isinstance(made.plan, RecordBroke)


def _may_be_systematic(made: Made[E, P]) -> bool:
    """Return whether a dead letter may be due to a bad deploy or producer.

    That is a record that could not be decoded, ended the process, or was refused by PostgreSQL.
    What the role itself rejected for its contents does not count: otherwise whoever may upload
    could halt a partition for everyone with a hundred broken pictures.
    """
    return not isinstance(made, Item) or isinstance(made.plan, ProcessCrashed | RecordRefused)


def _bisect(portion: Sequence[Prepared[E, P]], error: RecordRefused) -> list[list[Prepared[E, P]]]:
    """Return a refused portion in two halves, in order.

    A single record is returned as an item whose plan is the refusal, so that the role can react; if
    that is refused too, as a dead letter that the role never sees.

    Raises:
        RecordRefused: PostgreSQL refuses even the dead letter, which is a bug.
    """
    if len(portion) > 1:
        middle = len(portion) // 2
        return [list(portion[:middle]), list(portion[middle:])]
    ((partition_batch, results),) = portion
    if len(partition_batch) > 1:
        middle = len(partition_batch) // 2
        front, back = partition_batch.split(middle)
        return [[(front, results[:middle])], [(back, results[middle:])]]
    made = results[0] if results else error  # there may be none: then the guard itself was refused
    if not isinstance(made, Item):
        raise error
    if isinstance(made.plan, RecordRefused):
        return [[(partition_batch, (error,))]]
    return [[(partition_batch, (Item(made.received, error),))]]
