"""Events leave at once after the commit, and their place in the log becomes a token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.messaging.outbox import OutboxPublisher
from core.messaging.ports import Sent
from core.offsets import OutboxRow, Place
from ingress.http.problems import retry_later
from schemas.token import Token

WAIT_S = 1.0  # for the broker's acknowledgement, before the answer goes out without it
COUNT_TTL_S = 1.0
RETRY_AFTER_S = 5


@dataclass(slots=True)
class Departures:
    """The outbox, as requests use it: bounded in rows, bounded in time.

    Attributes:
        cluster: id of the Kafka cluster for tokens; '' until it is known.
        max_rows: bound of waiting rows; at it, nothing more is accepted.
        clock: monotonic seconds.
    """

    outbox: OutboxPublisher
    max_rows: int
    clock: Callable[[], float]
    cluster: str = ""
    _counted: tuple[float, int] = (float("-inf"), 0)

    async def check_room(self) -> None:
        """Raise unless the outbox is below its bound.

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

    async def send(self, rows: Sequence[OutboxRow]) -> tuple[Token, ...]:
        """Publish committed rows; return for each where it is, or the row where it waits."""
        sent = await self.outbox.publish_within(rows, WAIT_S)
        if sent is None:
            # Counted by hand until the next look: else a second's uploads would pass the bound.
            since, counted = self._counted
            self._counted = (since, counted + len(rows))
            return tuple(Token(self.cluster, outbox_id=row.id) for row in rows)
        return tuple(self._token(*pair) for pair in zip(rows, sent, strict=True))

    async def drain(self, *, within_s: float) -> None:
        """Wait for what is still being published, at the end of the process."""
        await self.outbox.drain(within_s=within_s)

    def _token(self, row: OutboxRow, outcome: Sent) -> Token:
        if isinstance(outcome, Place):
            return Token(self.cluster, outcome.topic, outcome.partition, outcome.offset)
        return Token(self.cluster, outbox_id=row.id)
