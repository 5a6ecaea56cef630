"""What the runtime needs from the group, the broker and the database, named by its user.

The tables' ports have functions with a connection: the modules of `core.storage.stream` satisfy
them as they are, and tests/simulation has doubles.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from core.errors import BrokerAway, PermanentError, TransientError
from core.offsets import (
    Bid,
    Claim,
    DeadLetter,
    Identity,
    Move,
    OutboxRow,
    Owner,
    Place,
    Standing,
)
from core.transaction import Transaction
from schemas.record import Partition, Record

#: What became of one record that was to be published.
Sent: TypeAlias = Place | TransientError | PermanentError

#: Offset, timestamp in ms, and the record. A bare tuple: it lives from the client to the queue.
Fetched: TypeAlias = tuple[int, int, Record]


class Stretch(NamedTuple):
    """A stretch of one partition's log, with all records that a reader gets of it.

    Offsets without a record are markers of transactions, aborted records or compacted ones, and may
    be all there is.

    Attributes:
        start: the offset where the client stood.
        end: the one where it stands now.
        records: ascending, none outside of the stretch.
        tombstones: how many records without a value it has; they say nothing to anybody here.
    """

    start: int
    end: int
    records: Sequence[Fetched]
    tombstones: int = 0


class Bounds(NamedTuple):
    """The bounds of a partition's log.

    Attributes:
        start: the first offset that it still has.
        stable: where a reader of committed records ends: the first record of an open transaction,
            or the log's end.
        end: the offset after the last one.
    """

    start: int
    stable: int
    end: int


class NotAMember(BrokerAway):
    """We are no member of the group (any more), or do not have these partitions."""


class OutOfLog(BrokerAway):
    """The log no longer has, or does not yet have, the offset that was asked for."""

    def __init__(self, partitions: Sequence[Partition]) -> None:
        super().__init__(f"offset out of range: {partitions}")
        self.partitions = partitions


class Dropped(BrokerAway):
    """The client has lost records that it had fetched: whoever wants them must seek."""


class Garbled(TransientError):
    """The client cannot read what it fetched: a broken batch, a header name that is no UTF-8."""


class Listener(Protocol):
    """Hears of rebalances."""

    async def on_revoked(self) -> None:
        """Let all partitions go; they are ours until this returns."""
        ...

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        """Take partitions over. Must return at once: no heartbeat is sent meanwhile."""
        ...


class GroupClient(Protocol):
    """Membership in a consumer group, fetching, and the advisory commit."""

    @property
    def member_id(self) -> str:
        """Return the broker's name for this member; '' before the first join."""
        ...

    async def start(self, listener: Listener) -> Identity:
        """Join; raises BrokerAway and may be called again."""
        ...

    async def stop(self) -> None:
        """Leave, in bounded time."""
        ...

    async def fetch(
        self, partitions: Iterable[Partition], *, max_records: int, timeout_s: float
    ) -> list[tuple[Partition, Stretch]]:
        """Return what was fetched; without partitions only wait and raise errors."""
        ...

    def seek(self, partition: Partition, offset: int) -> None:
        """Fetch from here on; NotAMember if the partition is gone."""
        ...

    async def prove(self, offsets: Mapping[Partition, int]) -> None:
        """Commit as a proof of membership; NotAMember or BrokerAway."""
        ...

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit what is still assigned, advisory; BrokerAway."""
        ...

    async def identify(self) -> Identity:
        """Return who the cluster and the topic are at this moment; BrokerAway."""
        ...

    async def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        """Return the bounds of each log; BrokerAway."""
        ...


class RecordPublisher(Protocol):
    """Sends records; the outcome of each is a value."""

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        """Return one outcome per record, in order; never raises for one of them."""
        ...


class Ledger(Protocol):
    """The progress of consumer groups: `core.storage.stream.progress`."""

    async def standings(
        self, connection: Transaction, group: str, partitions: Sequence[Partition]
    ) -> Mapping[Partition, Standing]:
        """Return where these partitions stand; those never claimed are absent."""
        ...

    async def claim(
        self, tx: Transaction, owner: Owner, bids: Sequence[Bid], identity: Identity
    ) -> Sequence[Claim]:
        """Become the owner: raises each partition's epoch, which fences whoever had it."""
        ...

    async def advance(
        self, tx: Transaction, owner: Owner, moves: Sequence[Move]
    ) -> frozenset[Partition]:
        """Lock and move; return the partitions that are still ours."""
        ...

    async def attempt(
        self, connection: Transaction, owner: Owner, partition: Partition, offset: int
    ) -> None:
        """Note that the next record from this offset on, and no other, is about to be prepared."""
        ...

    async def release(
        self, connection: Transaction, owner: Owner, epochs: Mapping[Partition, int]
    ) -> None:
        """Release partitions cleanly, where the epoch is still ours."""
        ...


class DeadLetters(Protocol):
    """Records that were set aside: `core.storage.stream.dead_letters`."""

    async def add(self, tx: Transaction, letters: Sequence[DeadLetter]) -> None:
        """Keep them; one that is there already stays as it was."""
        ...


class Outbox(Protocol):
    """Events that must leave, written with their effect: `core.storage.stream.outbox`."""

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        """Write rows; return them in order."""
        ...

    async def delete(self, connection: Transaction, ids: Sequence[int]) -> None:
        """Forget rows that were published."""
        ...

    async def count(self, connection: Transaction, *, bound: int) -> int:
        """Return how many rows wait; exact up to `bound`."""
        ...

    async def lock_older(
        self, tx: Transaction, *, age_s: float, limit: int, after: int
    ) -> list[OutboxRow]:
        """Lock the first rows beyond id `after`, of at least this age, that nobody has locked."""
        ...

    async def settle(
        self,
        tx: Transaction,
        published: Sequence[tuple[OutboxRow, Place]],
        refused: Sequence[tuple[OutboxRow, PermanentError]],
    ) -> None:
        """Delete rows: published arrivals leave their place, refused rows a dead letter."""
        ...


class Members(Protocol):
    """The Kafka member id of each running instance: `core.storage.stream.members`."""

    async def predecessor(self, connection: Transaction, group: str, instance: str) -> str | None:
        """Return the member id that this instance's last life stored."""
        ...

    async def store(
        self, connection: Transaction, group: str, instance: str, member_id: str
    ) -> None:
        """Keep the member id of this life."""
        ...
