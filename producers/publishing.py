"""Publishing that outlasts outages: what Kafka did not take is sent again, within a limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from core.errors import BrokerAway, TransientError
from core.messaging.ports import RecordPublisher, Sent
from schemas.record import Record

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """The time limits of retries while the broker is away.

    Attributes:
        limit_s: seconds from the first failure; infinite for a process that is to outlive outages.
        pause_s: seconds before the second try; doubled up to `longest_pause_s`.
    """

    limit_s: float = 60.0
    pause_s: float = 0.5
    longest_pause_s: float = 10.0
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(slots=True)
class Collector:
    """A sink that keeps records until they are published together.

    One acknowledgement per record would cost a round trip each.
    """

    records: list[Record] = field(default_factory=list)

    async def put(self, record: Record) -> None:
        """Keep one record."""
        self.records.append(record)


async def publish_all(
    publisher: RecordPublisher, records: Sequence[Record], patience: Patience
) -> list[Sent]:
    """Publish records, again where one was not acknowledged; return their outcomes, in order.

    An outcome is a `TransientError` only where the time limit has passed. A record whose
    acknowledgement was lost may be on the topic twice: identity makes that harmless.
    """
    outcomes: list[Sent] = [BrokerAway("not sent")] * len(records)
    waiting = list(range(len(records)))
    started, pause_s = patience.now(), patience.pause_s
    while True:
        sent = await publisher.publish([records[index] for index in waiting])
        for index, outcome in zip(waiting, sent, strict=True):
            outcomes[index] = outcome
        waiting = [index for index in waiting if isinstance(outcomes[index], TransientError)]
        if not waiting or patience.now() - started >= patience.limit_s:
            return outcomes
        log.warning("publish_retried", records=len(waiting), error=str(outcomes[waiting[0]]))
        await patience.sleep(pause_s)
        pause_s = min(pause_s * 2, patience.longest_pause_s)
