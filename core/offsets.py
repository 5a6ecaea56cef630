"""The shared nouns of the log: offsets, claims and records on their way. Plain values.

`core.messaging` decides with them and `core.storage` keeps them; neither may see the other.
Named tuples throughout: some are made once per record, where a frozen dataclass costs three times
as much, and moves are sorted by partition before their rows are locked.
"""

from typing import NamedTuple

from schemas.dead_letter import DeadLetterPlace
from schemas.record import Partition, Record


class Place(NamedTuple):
    """Where a published record lies, by the topic's logical name."""

    topic: str
    partition: int
    offset: int


class Identity(NamedTuple):
    """Which cluster, and which incarnation of a topic.

    A topic that was deleted and made anew has the same name and another id. The id is empty where
    the broker does not have the topic, or is too old to tell.
    """

    cluster_id: str
    topic_id: str


class Owner(NamedTuple):
    """One life of one member of a consumer group: who claims partitions.

    Attributes:
        group: logical name of the consumer group.
        name: unique per life of a process; in a row of progress '' is nobody.
        isolate_after: unclean deaths at one offset after which records are taken one by one.
        isolate_span: how many offsets a dead process may have had at work.
    """

    group: str
    name: str
    isolate_after: int
    isolate_span: int


class Standing(NamedTuple):
    """Where a partition stands, before it is claimed.

    Attributes:
        next_offset: the first offset whose effects are not in the database.
        identity: of the log that it counts in; empty where nobody has claimed it since a reset.
    """

    next_offset: int
    identity: Identity


class Bid(NamedTuple):
    """A partition to be claimed, with the bounds of its log."""

    partition: Partition
    log_start: int
    log_end: int


class Claim(NamedTuple):
    """The result of claiming a partition.

    Attributes:
        next_offset: the first offset whose effects are not in the database.
        epoch: the right to move the partition on; whoever claims next has a higher one.
        crashes: how many owners in a row ended uncleanly at this offset.
        attempted_offset: the record that was being prepared alone when the last owner ended; -1:
            none.
        isolate_until: records below it are taken one by one.
    """

    partition: Partition
    next_offset: int
    epoch: int
    crashes: int = 0
    attempted_offset: int = -1
    isolate_until: int = -1


class Move(NamedTuple):
    """One partition's step in a batch: from where, to where, by right of which epoch."""

    partition: Partition
    epoch: int
    from_offset: int
    to_offset: int


class DeadLetter(NamedTuple):
    """A record that was set aside, with the place where it lay and the reason.

    Attributes:
        timestamp_ms: the record's own timestamp, milliseconds since 1970; below zero: none.
    """

    place: DeadLetterPlace
    cluster_id: str
    record: Record
    timestamp_ms: int


class OutboxRow(NamedTuple):
    """An event that was written with its effect and waits to be published."""

    id: int
    record: Record
