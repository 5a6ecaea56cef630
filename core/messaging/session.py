"""What the tasks of one member share, and the one recovery for every error."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Generic, TypeVar

import structlog

from core.messaging.batching import BatchPolicy, PartitionBatch, PartitionBatchQueue
from core.messaging.limits import LOOP_LIMITS, LoopLimits
from core.messaging.ports import DeadLetters, GroupClient, Ledger, Members, Outbox, RecordPublisher
from core.messaging.role import Role
from core.messaging.tracking import Tracker
from core.messaging.watching.backlog import Backlog
from core.offsets import Identity, Owner
from core.settings import ConsumerSettings, OutboxSettings
from core.telemetry.metrics import Metrics
from core.transaction import Database
from schemas.record import Partition, Record
from schemas.topics import Topic

log = structlog.get_logger(__name__)

E = TypeVar("E")
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Backoff:
    """When to try again: exponential delays with jitter.

    Attributes:
        first_s: the delay after the first failure.
        longest_s: no delay is longer.
        jitter: share of the delay that is left to chance: 0.2 gives 0.8 to 1.0 of it.
    """

    first_s: float = 0.2
    longest_s: float = 10.0
    jitter: float = 0.2

    def delay_s(self, failures: int, random: Random) -> float:
        """Return the seconds to wait after so many failures in a row (1: after the first)."""
        doubled = self.first_s * 2.0 ** min(max(failures, 1) - 1, 40)
        return min(doubled, self.longest_s) * (1 - self.jitter * random.random())


class Isolation:
    """What the loops of one process owe each other while records go one by one.

    A death is charged to the record that was at work alone. So while any loop isolates, the whole
    process has one batch in flight: else a record of the other loop could be the cause.
    """

    def __init__(self) -> None:
        self._sessions: list[Session] = []

    def join(self, session: "Session") -> None:
        """Add a loop's session."""
        self._sessions.append(session)

    @property
    def is_closed(self) -> bool:
        """Return whether no batch may be formed now, because another one is in flight."""
        return any(session.tracker.isolating() for session in self._sessions) and any(
            session.in_flight for session in self._sessions
        )

    def pass_on(self, done: "Session") -> None:
        """Let all loops look again, the others before the one that is done with a batch."""
        for session in sorted(self._sessions, key=lambda one: one is done):
            session.arrived.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleParts(Generic[E, P]):
    """All that a role's loop is made of; a composition root fills it in.

    Attributes:
        owner: who claims partitions; its group is the consumer group that dead letters name.
        instance: stable name of this member, unique within the group at any time.
        decode: record -> event, or UndecodableEvent.
        client: membership and fetching (`core.messaging.kafka.consumer.GroupConsumer`).
        evict: removes a dead predecessor from the group by its member id.
        isolation: the same for all loops of one process.
    """

    role: Role[E, P]
    owner: Owner
    instance: str
    topic: Topic
    decode: Callable[[Record], E]
    client: GroupClient
    evict: Callable[[str], Awaitable[bool]]
    database: Database
    ledger: Ledger
    members: Members
    dead_letters: DeadLetters
    outbox: Outbox
    publisher: RecordPublisher
    settings: ConsumerSettings
    outbox_settings: OutboxSettings
    metrics: Metrics
    backoff: Backoff = field(default_factory=Backoff)
    limits: LoopLimits = LOOP_LIMITS
    isolation: Isolation = field(default_factory=Isolation)

    @property
    def group(self) -> str:
        """Logical name of the consumer group."""
        return self.owner.group

    @property
    def vitals_name(self) -> tuple[str, str]:
        """The loop's name among the parts of its process, and that of this instance."""
        return role_of(self.group), self.instance


def role_of(group: str) -> str:
    """Return what the loop of a group is called among the parts of its process."""
    return group.replace("-", "_")


class Session:
    """State that the tasks of one member share. They run on one event loop."""

    def __init__(
        self,
        settings: ConsumerSettings,
        metrics: Metrics,
        *,
        group: str,
        instance: str = "",
        limits: LoopLimits = LOOP_LIMITS,
        isolation: Isolation | None = None,
    ) -> None:
        self.settings = settings
        self.limits = limits
        self.metrics = metrics
        self.group = group
        self.vitals = metrics.signs.part(role_of(group), instance, settings.stall_limit_s)
        self.identity = Identity("", "")
        self.backlog: Mapping[Partition, Backlog] = {}  #: as the watchdog measured it last
        self.tracker = Tracker(reject_after=limits.crash_reject_after)
        self.queue = PartitionBatchQueue(
            max_records=limits.queue_max_records, max_bytes=2 * limits.batch_max_bytes
        )
        self.policy = BatchPolicy(settings.batch_max_records, limits.batch_max_bytes)
        self.random = Random()  # noqa: S311  # jitter
        self.draining = False
        self.parts_done = 0  #: parts of batches that were prepared since the start
        self.breakages = 0  #: records whose handling raised what nobody foresaw
        self._waits: dict[str, str] = {}
        self.arrived = asyncio.Event()
        self.taken = asyncio.Event()
        self.claim_wanted = asyncio.Event()
        self.claiming = asyncio.Lock()  #: held from the raise of epochs to their admission
        self.idle = asyncio.Event()
        self.idle.set()
        self.claim_not_before = 0.0
        self._in_flight = 0
        self._halts: set[tuple[Partition, str]] = set()
        self._isolation = isolation or Isolation()
        self._isolation.join(self)

    @property
    def in_flight(self) -> int:
        """Return how many batches are between the queue and the end of their transaction."""
        return self._in_flight

    @property
    def waiting_for(self) -> str | None:
        """Return the outage that any task waits for; None if there is none."""
        return next(iter(self._waits.values()), None)

    def wait_for(self, stage: str, error: Exception | None) -> None:
        """Record what a stage is blocked on; None clears it. Stages do not clear each other's."""
        if error is None:
            self._waits.pop(stage, None)
        else:
            self._waits[stage] = str(error)
        self.vitals.about["waits_for"] = self.waiting_for

    def report_progress(self) -> None:
        """Count a part of a batch as prepared."""
        self.parts_done += 1
        self.vitals.moved()

    def is_live(self, batch: Iterable[PartitionBatch]) -> bool:
        """Return whether any of these records may still take effect."""
        return any(
            self.tracker.owns(partition_batch.partition, partition_batch.epoch)
            for partition_batch in batch
        )

    def put(self, partition_batch: PartitionBatch) -> None:
        """Queue fetched records."""
        self.queue.put(partition_batch)
        self.arrived.set()

    def take(self) -> list[PartitionBatch]:
        """Return the next batch or nothing; in isolation one record, if none is in flight."""
        if self._isolation.is_closed:
            return []
        policy = self.policy.alone() if self.tracker.isolating() else self.policy
        batch = self.queue.take(policy, self.tracker.ready())
        if batch:
            self._in_flight += 1
            self.idle.clear()
        self.taken.set()
        return batch

    def finished(self) -> None:
        """Count a batch as out of the pipeline, whether committed or dropped."""
        self._in_flight -= 1
        if not self._in_flight:
            self.idle.set()
        self._isolation.pass_on(self)  # in isolation the next record waits for this

    def recover(self, reason: str, partitions: Iterable[Partition] | None = None) -> None:
        """Drop what is in flight, all or of some partitions, and let them be claimed again."""
        self.metrics.consumer_recoveries.labels(self.group, reason).inc()
        self.tracker.drop(partitions)
        if partitions is None:
            self.queue.clear()
            self.taken.set()
        self.claim_wanted.set()
        log.warning("recovering", reason=reason)

    def halt(self, partition: Partition, reason: str, **fields: object) -> None:
        """Stop a partition until someone acts; the others go on."""
        if self.tracker.halted.get(partition) == reason:
            return
        self.tracker.halt(partition, reason)
        self._halts.add((partition, reason))
        self._show_halted()
        self.metrics.consumer_halted.labels(self.group, *map(str, partition), reason).set(1)
        log.error(
            "partition_halted",
            topic=partition.topic,
            partition=partition.number,
            reason=reason,
            **fields,
        )

    def show_halts(self) -> None:
        """Clear the alarms of partitions that go on again or belong to another member now."""
        for partition, reason in list(self._halts):
            if self.tracker.halted.get(partition) != reason:
                self._halts.discard((partition, reason))
                self._show_halted()
                labels = (self.group, *map(str, partition), reason)
                self.metrics.consumer_halted.labels(*labels).set(0)

    def _show_halted(self) -> None:
        known = {
            (one["topic"], one["partition"], one["reason"]): one
            for one in self.vitals.about.get("halted", ())
        }
        since = datetime.now(UTC).isoformat()
        self.vitals.about["halted"] = [
            known.get(
                (*partition, reason),
                {
                    "topic": partition.topic,
                    "partition": partition.number,
                    "reason": reason,
                    "since": since,
                },
            )
            for partition, reason in sorted(self._halts)
        ]

    async def quiet(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight; return False if that takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.idle.wait()
        except TimeoutError:
            return False
        return True
