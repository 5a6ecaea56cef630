"""Parked queries: answered when their upload is tagged, or failed when their time is over.

They do not block a partition: `apply` parks them in a table, and this task answers them later.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from consumers.query.answering import (
    ImageFinder,
    LabelFinder,
    answer_each,
    failed,
    outgoing,
)
from consumers.query.role import Answered, Answers, tell, unheeded
from core.errors import QueryInvalid
from core.failpoints import reach
from core.offsets import OutboxRow
from core.repeating import every
from core.transaction import Transaction
from schemas.record import Record

INTERVAL_S = 0.2
BATCH = 100


class AnswerOutbox(Protocol):
    """Events that must leave, written outside the loop: `core.messaging.outbox`."""

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        """Write rows, to be published once `tx` has committed."""
        ...

    async def publish(self, rows: Sequence[OutboxRow]) -> object:
        """Publish them at once; the sweeper publishes what fails."""
        ...


@dataclass(frozen=True, slots=True)
class WaitingRoom:
    """Answers parked queries until stopped."""

    transaction: Callable[[], AbstractAsyncContextManager[Transaction]]
    labels: LabelFinder
    images: ImageFinder
    answers: Answers
    outbox: AnswerOutbox
    answered: Answered = unheeded

    async def run(self, stop: asyncio.Event) -> None:
        """Look for queries that can be answered, several times a second, until `stop` is set."""
        # An outage is logged by the loop; parked queries stay where they are.
        await every(self._serve_some, INTERVAL_S, stop)

    async def _serve_some(self) -> bool:
        return await self.serve() == BATCH

    async def serve(self) -> int:
        """Answer what is ready; return how many.

        Two processes may answer the same query: the first answer wins, here as everywhere.
        """
        ready = await self.answers.ready(BATCH)
        if not ready:
            return 0
        reach("parked.found")
        await self.labels.refresh()
        in_time = [query for query, is_late in ready if not is_late]
        found = await answer_each(in_time, self.labels, self.images)
        answers = list(zip(in_time, found, strict=True))
        answers += [(query, failed(query, _late())) for query, is_late in ready if is_late]
        reach("parked.answered")
        async with self.transaction() as tx:
            new = await self.answers.keep(tx, answers)
            reach("parked.kept")
            await self.answers.unpark(tx, sorted(event.query_id for _, event in answers))
            reach("parked.unparked")
            records = [
                outgoing(event, owner=new[event.query_id].owner)
                for _, event in answers
                if event.query_id in new
            ]
            rows = await self.outbox.add(tx, records)
            reach("parked.outboxed")
        reach("parked.committed")
        tell(self.answered, [event for _, event in answers], new)
        await self.outbox.publish(rows)
        reach("parked.published")
        return len(ready)


def _late() -> QueryInvalid:
    return QueryInvalid("the upload was not tagged in time", reason="after_timeout")
