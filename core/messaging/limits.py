"""Limits of the loop and of Kafka's clients that no operator has had to change; tests shorten them.

They depend on each other: tests/unit/messaging/test_limits.py holds them together.
"""

from dataclasses import dataclass, replace
from typing import Self

from core.settings import MIB


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """Limits of one member.

    Attributes:
        pipeline_depth: batches that are prepared while one commits. Two keep the model and the
            database busy; a third only waits, and is lost to every recovery.
        queue_max_records: records that are fetched ahead: four batches at the usual size. No batch
            has more, so `with_room_for` raises it for larger ones.
        batch_max_bytes: of one transaction's records: 64 of the largest that topics take (512 KiB).
        transaction_deadline_s: for the whole transaction of a batch, as seen from here. Shorter
            than PostgreSQL's own limit, so that we learn first that it failed.
        advisory_commit_interval_s: between offsets told to Kafka, which only lag tools read.
        dead_letter_window: the latest records of a partition over which the share is taken.
        dead_letter_max_share: a partition of which more became dead letters halts: then the
            deployment or the producer is bad, not the record.
        crash_isolate_after: unclean deaths at one offset after which records go one by one. After
            the first already an ordinary kill would slow the partition down.
        crash_reject_after: unclean deaths by one record after which it becomes a dead letter.
        sweep_interval_s: between looks for outbox rows that nobody published.
        sweep_max_rows: per look; a transaction holds their locks until Kafka has answered.
    """

    pipeline_depth: int = 2
    queue_max_records: int = 256
    batch_max_bytes: int = 32 * MIB
    transaction_deadline_s: float = 10.0
    advisory_commit_interval_s: float = 1.0
    dead_letter_window: int = 200
    dead_letter_max_share: float = 0.5
    crash_isolate_after: int = 2
    crash_reject_after: int = 5
    sweep_interval_s: float = 2.0
    sweep_max_rows: int = 500

    def with_room_for(self, batch_max_records: int) -> Self:
        """Return these limits with a queue of at least four batches of this size."""
        return replace(self, queue_max_records=max(self.queue_max_records, 4 * batch_max_records))


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits of Kafka's clients.

    Attributes:
        request_timeout_ms: one request to a broker.
        rebalance_timeout_ms: for the slowest member to let go of its partitions; longer than
            CONSUMER_DRAIN_TIMEOUT_S may be.
        publish_timeout_s: until records are acknowledged; after it they stay in the outbox. The
            sweeper waits for it inside a transaction, so it is shorter than that may last.
    """

    request_timeout_ms: int = 15_000
    rebalance_timeout_ms: int = 60_000
    publish_timeout_s: float = 5.0


LOOP_LIMITS = LoopLimits()
CLIENT_LIMITS = ClientLimits()
