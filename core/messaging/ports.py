"""What the runtime needs from a database, named by its user; `core.storage` satisfies it.

Values that come back are read by attribute, so either side may have its own class for them.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from core.errors import PermanentError, TransientError
from core.transaction import Transaction
from schemas.dead_letter import DeadLetterPlace
from schemas.record import Partition, Record


class Place(NamedTuple):
    """Where a published record lies, by the topic's logical name."""

    topic: str
    partition: int
    offset: int


#: What became of one record that was to be published.
Sent = Place | TransientError | PermanentError


class Move(NamedTuple):
    """One partition's step in a batch: from where, to where, by right of which epoch."""

    partition: Partition
    epoch: int
    from_offset: int
    to_offset: int


class Claim(Protocol):
    """What claiming a partition gave.

    Attributes:
        next_offset: the first offset whose effects are not in the database.
        crashes: how many owners in a row ended uncleanly at this offset.
        attempted_offset: the record that was being prepared alone when the last owner ended.
        isolate_until: records below it are taken one by one.
    """

    @property
    def partition(self) -> Partition: ...  # noqa: D102
    @property
    def next_offset(self) -> int: ...  # noqa: D102
    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def crashes(self) -> int: ...  # noqa: D102
    @property
    def attempted_offset(self) -> int: ...  # noqa: D102
    @property
    def isolate_until(self) -> int: ...  # noqa: D102


class Standing(Protocol):
    """Where a partition stands, before it is claimed."""

    @property
    def next_offset(self) -> int: ...  # noqa: D102
    @property
    def cluster_id(self) -> str: ...  # noqa: D102
    @property
    def topic_id(self) -> str: ...  # noqa: D102


class Bid(NamedTuple):
    """What a claimant knows of a partition: where its log begins and ends."""

    partition: Partition
    log_start: int
    log_end: int


class Ledger(Protocol):
    """The group's progress, and the transaction that moves it."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """An open transaction; raises DatabaseAway or RecordRefused."""
        ...

    async def standings(self, partitions: Sequence[Partition]) -> Mapping[Partition, Standing]:
        """Where these partitions stand; those never claimed are absent."""
        ...

    async def claim(
        self, bids: Sequence[Bid], *, cluster_id: str, topic_id: str
    ) -> Sequence[Claim]:
        """Become the owner: raises each partition's epoch, which fences whoever had it."""
        ...

    async def advance(self, tx: Transaction, moves: Sequence[Move]) -> frozenset[Partition]:
        """Lock and move; give the partitions that are still ours."""
        ...

    async def attempt(self, partition: Partition, offset: int) -> None:
        """Note that the next record from this offset on, and no other, is about to be prepared."""
        ...

    async def release(self, epochs: dict[Partition, int]) -> None:
        """Return partitions back cleanly, where the epoch is still ours."""
        ...


class DeadLetter(NamedTuple):
    """A record that was set aside."""

    place: DeadLetterPlace
    cluster_id: str
    record: Record
    timestamp_ms: int


class DeadLetters(Protocol):
    """Where records that were set aside are kept."""

    async def add(self, tx: Transaction, letters: Sequence[DeadLetter]) -> None:
        """Keep them; one that is there already stays as it was."""
        ...


class Waiting(Protocol):
    """An outbox row."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def record(self) -> Record: ...  # noqa: D102


class Outbox(Protocol):
    """Events that must leave: written with the effect, published after the commit."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """An open transaction; raises DatabaseAway."""
        ...

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[int]:
        """Write rows; give their ids, in order."""
        ...

    async def delete(self, ids: Sequence[int]) -> None:
        """Forget rows that were published."""
        ...

    async def count(self, *, bound: int) -> int:
        """How many rows wait; exact up to `bound`."""
        ...

    async def lock_older(
        self, tx: Transaction, *, age_s: float, limit: int, after: int
    ) -> Sequence[Waiting]:
        """Lock the first rows beyond id `after`, of at least this age, that nobody has locked."""
        ...

    async def settle(
        self,
        tx: Transaction,
        published: Sequence[tuple[int, Place]],
        refused: Sequence[tuple[Waiting, PermanentError]],
    ) -> None:
        """Delete locked rows: published ones leave their place, refused ones a dead letter."""
        ...


class Members(Protocol):
    """The Kafka member id of each running instance."""

    async def predecessor(self, instance: str) -> str | None:
        """The member id that this instance's last life stored."""
        ...

    async def store(self, instance: str, member_id: str) -> None:
        """Remember the member id of this life."""
        ...


class RecordPublisher(Protocol):
    """Sends records; the outcome of each is a value."""

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        """Return one outcome per record, in order; never raises for one of them."""
        ...
