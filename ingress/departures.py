"""Events leave at once after the commit; what cannot is left to the sweeper."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog

from core.errors import TransientError
from core.messaging.ports import Place, Sent
from core.transaction import Transaction
from ingress.http.problems import retry_later
from schemas.record import Record
from schemas.token import Token

T = TypeVar("T")
log = structlog.get_logger(__name__)

WAIT_S = 1.0  # for the broker's acknowledgement, before the answer goes out without it
AWAY_S = 2.0  # after a failure nobody tries for so long: the rows wait for the sweeper
COUNT_TTL_S = 1.0
RETRY_AFTER_S = 5


class Outbox(Protocol):
    """Events that must leave: written with the effect, published after the commit."""

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[int]:
        """Write rows; return their ids, in order."""
        ...

    async def delete(self, ids: Sequence[int]) -> None:
        """Delete rows that were published."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """An open transaction."""
        ...

    async def settle(
        self, tx: Transaction, published: Sequence[tuple[int, Place]], refused: Sequence[Any]
    ) -> None:
        """Delete rows; published arrivals leave their place, for tokens that name the row."""
        ...

    async def count(self, *, bound: int) -> int:
        """How many rows wait: exact up to `bound`."""
        ...


class Publisher(Protocol):
    """Hands records to the broker; the outcome of each is a value."""

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        """Return one outcome per record, in order; never raises for one of them."""
        ...


@dataclass(slots=True)
class Departures:
    """Publishes outbox rows that this process has just committed.

    Attributes:
        cluster: id of the Kafka cluster for tokens; '' until it is known.
        max_rows: from so many waiting rows on, nothing more is accepted.
        clock: monotonic seconds.
    """

    outbox: Outbox
    publisher: Publisher
    max_rows: int
    clock: Callable[[], float]
    cluster: str = ""
    _away_until: float = float("-inf")
    _counted: tuple[float, int] = (float("-inf"), 0)
    _running: set["asyncio.Task[Any]"] = field(default_factory=set)

    @property
    def is_broker_away(self) -> bool:
        """The last try, a moment ago, failed."""
        return self.clock() < self._away_until

    async def check_room(self) -> None:
        """Pass while the outbox is below its bound.

        Raises:
            Problem: `overloaded`.
            DatabaseAway: it cannot be counted.
        """
        since, rows = self._counted
        if self.clock() - since > COUNT_TTL_S:
            rows = await self.outbox.count(bound=self.max_rows)
            self._counted = (self.clock(), rows)
        if rows >= self.max_rows:
            raise retry_later(
                "overloaded",
                f"{rows} events or more wait for Kafka; the limit is {self.max_rows}",
                after_s=RETRY_AFTER_S,
            )

    def forget_count(self) -> None:
        """Count anew at the next look."""
        self._counted = (float("-inf"), 0)

    async def send(self, rows: Sequence[tuple[int, Record]]) -> tuple[Token, ...]:
        """Publish committed rows; give for each where it is, or the row where it waits."""
        if self.is_broker_away:
            return self._waiting(rows)
        records = [record for _, record in rows]
        publishing = self._started(self.publisher.publish(records))
        try:
            async with asyncio.timeout(WAIT_S):
                sent = await asyncio.shield(publishing)
        except TimeoutError:
            self._finish_later(publishing, rows)
            return self._waiting(rows)
        except asyncio.CancelledError:  # the client went away, the event has to leave all the same
            self._finish_later(publishing, rows)
            raise
        await self._forget(rows, sent)
        return tuple(
            self._token(row_id, outcome) for (row_id, _), outcome in zip(rows, sent, strict=True)
        )

    async def drain(self, *, within_s: float) -> None:
        """Wait for what is still being published, at the end of the process."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=within_s)

    def _waiting(self, rows: Sequence[tuple[int, Record]]) -> tuple[Token, ...]:
        # Counted by hand until the next look: else a second's uploads would go past the bound.
        since, counted = self._counted
        self._counted = (since, counted + len(rows))
        return tuple(Token(self.cluster, outbox_id=row_id) for row_id, _ in rows)

    async def _forget(self, rows: Sequence[tuple[int, Record]], sent: Sequence[Sent]) -> None:
        gone = [row_id for (row_id, _), out in zip(rows, sent, strict=True) if _is_placed(out)]
        self._note(sent)
        if not gone:
            return
        try:
            await self.outbox.delete(gone)
        except TransientError as error:  # published once more by the sweeper, which is harmless
            log.warning("outbox_rows_left", rows=len(gone), error=str(error))

    def _finish_later(
        self, publishing: "asyncio.Task[list[Sent]]", rows: Sequence[tuple[int, Record]]
    ) -> None:
        self._started(self._settle(publishing, rows))

    def _started(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _settle(
        self, publishing: "asyncio.Task[list[Sent]]", rows: Sequence[tuple[int, Record]]
    ) -> None:
        sent = await publishing
        self._note(sent)
        # Their tokens name the rows: the places are written down for queries that wait.
        placed = [
            (row_id, outcome)
            for (row_id, _), outcome in zip(rows, sent, strict=True)
            if isinstance(outcome, Place)
        ]
        try:
            if placed:
                async with self.outbox.transaction() as tx:
                    await self.outbox.settle(tx, placed, [])
        except TransientError as error:
            log.warning("outbox_rows_left", rows=len(placed), error=str(error))

    def _note(self, sent: Sequence[Sent]) -> None:
        if any(isinstance(outcome, TransientError) for outcome in sent):
            self._away_until = self.clock() + AWAY_S
            log.warning("broker_away", left_to_sweeper=len(sent))

    def _token(self, row_id: int, outcome: Sent) -> Token:
        if isinstance(outcome, Place):
            return Token(self.cluster, outcome.topic, outcome.partition, outcome.offset)
        return Token(self.cluster, outbox_id=row_id)


def _is_placed(outcome: Sent) -> bool:
    return isinstance(outcome, Place)
