"""A member of a consumer group: aiokafka behind the few calls that the loop needs.

Traps of aiokafka 0.14 that are kept inside this module (docs/research/kafka.md, section 2):
`getmany` must never be cancelled while the member lives; `commit` and `stop` may hang while the
broker is away; `stop` may raise a `CancelledError` that nobody asked for; one unassigned partition
fails a whole commit; the request time limit also ends a join, so it must exceed the rebalance's.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from core.errors import BrokerAway, TransientError
from core.messaging.kafka import inflating, unpacking
from core.messaging.kafka.abandoning import look_at_commits
from core.messaging.kafka.cluster import identify
from core.messaging.kafka.connection import (
    client_options,
    is_cancelled,
    logical,
    on_broker,
    translated,
)
from core.messaging.kafka.log_ends import COMMITTED, bounds_of
from core.messaging.limits import CLIENT_LIMITS, ClientLimits
from core.messaging.ports import (
    Bounds,
    Dropped,
    Fetched,
    Garbled,
    Listener,
    NotAMember,
    OutOfLog,
    Stretch,
)
from core.offsets import Identity
from core.settings import KafkaSettings
from schemas.record import Partition, Record
from schemas.topics import Topic

log = structlog.get_logger(__name__)

COMMIT_TIMEOUT_S = 3.0
BOUNDS_TIMEOUT_S = 10.0
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
NEVER_MS = 2**31 - 1
HEARTBEATS_PER_SESSION = 4  # Kafka asks for three at least: one lost heartbeat must not matter
_NOBODY = TopicPartition("", 0)


class GroupConsumer:
    """`GroupClient` over `AIOKafkaConsumer`: eager protocol, one assignor, offsets in PostgreSQL.

    Args:
        settings: the broker and its limits.
        group: logical name of the consumer group.
        topic: the topic to read.
        client_id: name in the broker's logs.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        group: str,
        topic: Topic,
        client_id: str,
        limits: ClientLimits = CLIENT_LIMITS,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._group = on_broker(settings, group)
        self._topic = topic
        self._client_id = client_id
        self._consumer: AIOKafkaConsumer | None = None
        self._fetching: asyncio.Task[Any] | None = None

    @property
    def member_id(self) -> str:
        """Return the broker's name for this member; '' before the first join."""
        if self._consumer is None:
            return ""
        member_id: str = self._consumer._coordinator.member_id  # noqa: SLF001  # no public one
        return member_id

    async def start(self, listener: Listener) -> Identity:
        """Connect and join the group; return who the cluster and the topic are.

        Raises:
            BrokerAway: no broker; may be called again.
        """
        identity = await self.identify()
        consumer = self._make()
        consumer.subscribe(
            [on_broker(self._settings, self._topic.name)],
            listener=_Callbacks(listener, self._settings),
        )
        self._consumer = consumer
        try:
            with translated("start consumer"):
                async with asyncio.timeout(START_TIMEOUT_S):
                    await consumer.start()
            look_at_commits(consumer)
        except BaseException:
            await self.stop()
            raise
        return identity

    def _make(self) -> AIOKafkaConsumer:
        unpacking.install()
        options = client_options(self._settings, client_id=self._client_id)
        # JoinGroup is answered when the slowest member has released its partitions.
        options["request_timeout_ms"] = max(
            self._limits.request_timeout_ms, self._limits.rebalance_timeout_ms + 5_000
        )
        return AIOKafkaConsumer(
            **options,
            group_id=self._group,
            enable_auto_commit=False,
            # Positions come from PostgreSQL; an offset that the log has lost must raise an error.
            auto_offset_reset="none",
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=self._settings.session_timeout_ms,
            heartbeat_interval_ms=self._settings.session_timeout_ms // HEARTBEATS_PER_SESSION,
            rebalance_timeout_ms=self._limits.rebalance_timeout_ms,
            max_poll_interval_ms=NEVER_MS,  # the watchdog looks at progress instead
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=2 * 1024 * 1024,
            isolation_level=COMMITTED,
        )

    async def stop(self) -> None:
        """Leave the group and close, for at most a few seconds."""
        consumer, self._consumer = self._consumer, None
        fetching, self._fetching = self._fetching, None
        if consumer is None:
            return
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await consumer.stop()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("consumer_stop_failed", error=repr(error))
        except asyncio.CancelledError:
            if is_cancelled():  # else aiokafka's fetcher raised it, since the broker is away
                raise
        finally:
            if fetching is not None:
                fetching.cancel()  # harmless now: nobody reads this consumer's idle time any more

    async def fetch(
        self, partitions: Iterable[Partition], *, max_records: int, timeout_s: float
    ) -> list[tuple[Partition, Stretch]]:
        """Return what the client has for these partitions.

        A call that is cancelled leaves the fetch itself running; the next call awaits it.

        Raises:
            OutOfLog: an offset is outside its log.
            Garbled: a record cannot be unpacked; records fetched with it are lost to the client,
                so the caller must seek.
            Dropped: this process had no means to unpack; the same.
            BrokerAway: an error that may pass.
        """
        wanted = [self._there(partition) for partition in partitions] or [_NOBODY]
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(
                self._running().getmany(
                    *wanted, timeout_ms=round(timeout_s * 1000), max_records=max_records
                )
            )
        try:
            fetched = await asyncio.shield(self._fetching)
        except NoOffsetForPartitionError:
            return []  # not claimed yet; the claim will seek
        except Exception as error:
            raise self._failure(error) from error
        finally:
            if self._fetching is not None and self._fetching.done():
                self._fetching = None
        return [(self._here(place), self._read(stretch)) for place, stretch in fetched.items()]

    def _failure(self, error: Exception) -> TransientError:
        """Return what a failed fetch means."""
        match error:
            case OffsetOutOfRangeError():
                return OutOfLog([self._here(place) for place in error.args[0]])
            case CorruptRecordException():
                return Garbled(str(error))
            case inflating.NoMeans():
                return Dropped(f"fetch: {error}")
            case KafkaError() | ConsumerStoppedError():
                return BrokerAway(f"fetch: {type(error).__name__}: {error}")
            case _:  # unpacking a hostile batch may raise anything
                return Garbled(f"{type(error).__name__}: {error}")

    def seek(self, partition: Partition, offset: int) -> None:
        """Fetch from this offset on.

        Raises:
            NotAMember: the partition is not assigned.
        """
        try:
            self._running().seek(self._there(partition), offset)
        except IllegalStateError as error:
            raise NotAMember(f"seek {partition}: {error}") from error

    async def prove(self, offsets: Mapping[Partition, int]) -> None:
        """Commit these offsets, which the broker refuses unless we are a member.

        Raises:
            NotAMember: refused.
            BrokerAway: no answer in time.
        """
        try:
            with translated("prove membership"):
                async with asyncio.timeout(COMMIT_TIMEOUT_S):
                    await self._running().commit(
                        {self._there(partition): offset for partition, offset in offsets.items()}
                    )
        except BrokerAway as error:
            if isinstance(error.__cause__, CommitFailedError | IllegalStateError):
                raise NotAMember(str(error)) from error
            raise

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets of the partitions that are assigned at this moment, for lag tools only.

        Raises:
            BrokerAway: refused or no answer in time.
        """
        assigned = self._running().assignment()
        wanted = {
            self._there(partition): offset
            for partition, offset in offsets.items()
            if self._there(partition) in assigned
        }
        if wanted:
            with translated("commit"):
                async with asyncio.timeout(COMMIT_TIMEOUT_S):
                    await self._running().commit(wanted)

    async def identify(self) -> Identity:
        """Return who the cluster and the topic are at this moment.

        Raises:
            BrokerAway: no answer in time.
        """
        return await identify(self._settings, self._topic.name)

    async def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        """Return the bounds of each log.

        Raises:
            BrokerAway: no answer in time.
        """
        places = [self._there(partition) for partition in partitions]
        with translated("Kafka, asked where its logs end"):
            async with asyncio.timeout(BOUNDS_TIMEOUT_S):
                bounds = await bounds_of(self._running(), places)
        return {self._here(place): bounds[place] for place in places}

    def _running(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise NotAMember("the consumer is stopped")
        return self._consumer

    def _there(self, partition: Partition) -> TopicPartition:
        return TopicPartition(on_broker(self._settings, partition.topic), partition.number)

    def _here(self, place: TopicPartition) -> Partition:
        return Partition(logical(self._settings, place.topic), place.partition)

    def _read(self, stretch: Any) -> Stretch:
        topic = self._topic.name
        read: list[Fetched] = []
        for one in stretch:
            if one.value is None:  # a tombstone: it says nothing to a log that is never compacted
                continue
            headers = one.headers
            for _, value in headers:
                if value is None:  # legal in Kafka, rare here
                    headers = tuple((name, value or b"") for name, value in headers)
                    break
            read.append((one.offset, one.timestamp, Record(topic, one.key, headers, one.value)))
        return Stretch(stretch.start, stretch.end, read, len(stretch) - len(read))


class _Callbacks(ConsumerRebalanceListener):
    """Passes rebalances on. aiokafka only logs what a callback raises: the listener keeps it."""

    def __init__(self, listener: Listener, settings: KafkaSettings) -> None:
        self._listener = listener
        self._settings = settings

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        del revoked  # the eager protocol revokes all
        await self._listener.on_revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._listener.on_assigned(
            [Partition(logical(self._settings, p.topic), p.partition) for p in assigned]
        )
