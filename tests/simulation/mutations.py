"""What holds the guarantees, taken out one by one, in this process.

A simulation that finds nothing without the guard proves nothing. Each of these must break an
invariant within a bounded number of seeds (test_mutations.py). Not here, because nothing breaks
without them in hundreds of seeds: the token looked at in `Tracker.admit` (handing over waits for
claims), the drain before a revocation and the committer's own look at epochs (the guard is behind
them).
"""

from collections.abc import Callable, Sequence
from typing import Any

from core.messaging import committing
from core.messaging.batching import PartitionBatch
from core.messaging.outbox import OutboxPublisher, Sweeper
from core.messaging.session import Session
from core.messaging.tracking import Classified, FetchAction, Tracker
from core.offsets import Move, OutboxRow, Owner
from schemas.record import Partition, Record
from tests.simulation.client import SimClient
from tests.simulation.database import Effect, SimDatabase
from tests.simulation.database import Session as DatabaseSession

#: `pytest.MonkeyPatch.setattr`: raises where there is nothing to take out, and is undone.
Put = Callable[[Any, str, Any], None]


def without_guard(put: Put) -> None:
    """Everything moves, whoever owns it and wherever it stands."""
    put(SimDatabase, "_matches", lambda self, move: move.partition in self.rows)


def without_epochs(put: Put) -> None:
    """A claim raises no epoch, and the guard looks at nothing else."""
    put(
        SimDatabase,
        "_matches",
        lambda self, move: self.rows[move.partition].epoch == move.epoch,
    )
    real = SimDatabase._take_over

    def take_over(self: SimDatabase, row: Any, log_end: int, of: Any) -> None:
        real(self, row, log_end, of)
        row.epoch = 1

    put(SimDatabase, "_take_over", take_over)


def without_one_transaction(put: Put) -> None:
    """Effects are there before the transaction that moves progress commits."""

    real = SimDatabase.apply

    def apply(
        self: SimDatabase,
        session: DatabaseSession,
        effects: Sequence[Effect],
        refused: frozenset[int],
    ) -> None:
        real(self, session, effects, refused)
        session.writes.pop()()

    put(SimDatabase, "apply", apply)


def without_late_progress(put: Put) -> None:
    """Progress moves before the effects are written."""
    real = SimDatabase.advance

    async def advance(
        self: SimDatabase, session: DatabaseSession, owner: Owner, moves: Sequence[Move]
    ) -> frozenset[Partition]:
        ours = await real(self, session, owner, moves)
        for write in session.writes:
            write()
        session.writes.clear()
        return ours

    put(SimDatabase, "advance", advance)


def without_outbox(put: Put) -> None:
    """Events are published without a row behind them."""

    def add(_self: SimDatabase, _: DatabaseSession, records: Sequence[Record]) -> list[OutboxRow]:
        return [OutboxRow(-1, record) for record in records]

    put(SimDatabase, "add", add)


def without_sweeper(put: Put) -> None:
    """Nobody looks for rows that a crash left."""

    async def sweep(_self: Sweeper, *, age_s: float) -> bool:
        return False

    put(Sweeper, "sweep", sweep)


def without_publishing_first(put: Put) -> None:
    """A row is deleted before Kafka has it."""

    async def publish(self: OutboxPublisher, rows: Sequence[OutboxRow]) -> list[Any]:
        async with self._database.connection() as connection:
            await self._outbox.delete(connection, [row.id for row in rows])
        return await self.publisher.publish([row.record for row in rows])

    put(OutboxPublisher, "publish", publish)


def without_seeks(put: Put) -> None:
    """Nobody tells the client where to read on."""

    def seek(_self: SimClient, _partition: Partition, _offset: int) -> None:
        return None

    put(SimClient, "seek", seek)


def without_classifying(put: Put) -> None:
    """Whatever was fetched is taken, whoever owned the partition meanwhile."""

    def classify(
        self: Tracker,
        partition: Partition,
        _epoch: int | None,
        start: int,
        end: int,
        _at_ms: int = -1,
    ) -> Classified:
        owned = self._owned.get(partition)
        if owned is None:
            return Classified(FetchAction.DROP)
        owned.position = end
        return Classified(FetchAction.TAKE, start)

    put(Tracker, "classify", classify)


def without_passing(put: Put) -> None:
    """What has no record for us is not passed unless a record follows."""
    real = Session.put

    def put_records(self: Session, stretch: PartitionBatch) -> None:
        if len(stretch):
            real(self, stretch)

    put(Session, "put", put_records)


def without_recovery(put: Put) -> None:
    """After an error work goes on as if nothing had been."""

    def recover(_self: Session, _reason: str, _partitions: Any = None) -> None:
        return None

    put(Session, "recover", recover)


def without_isolation(put: Put) -> None:
    """Nobody is taken alone: a record that kills is never found."""
    put(Tracker, "isolating", lambda self: False)


def without_blame(put: Put) -> None:
    """Nobody writes down which record is at work."""

    async def attempt(*_: object) -> None:
        return None

    put(SimDatabase, "attempt", attempt)


def without_halving(put: Put) -> None:
    """What PostgreSQL refuses ends the process."""

    def bisect(_portion: Any, error: Exception) -> Any:
        raise error

    put(committing, "_bisect", bisect)


MUTATIONS: dict[str, Callable[[Put], None]] = {
    name.removeprefix("without_"): mutation
    for name, mutation in list(globals().items())
    if name.startswith("without_")
}
