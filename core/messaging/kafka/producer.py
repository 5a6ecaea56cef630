"""Publishing: an idempotent producer that never hangs its caller and is replaced if it breaks."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidMessageError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    PolicyViolationError,
    ProducerFenced,
    RecordListTooLargeError,
    UnknownProducerId,
    UnsupportedForMessageFormatError,
)

from core.errors import BrokerAway, PermanentError
from core.messaging.kafka.abandoning import STOP_TIMEOUT_S, abandon, look_at_error
from core.messaging.kafka.connection import client_options, in_words, on_broker
from core.messaging.limits import CLIENT_LIMITS, ClientLimits
from core.messaging.ports import Sent
from core.offsets import Place
from core.settings import KafkaSettings
from core.telemetry.metrics import Metrics
from schemas.record import Record

log = structlog.get_logger(__name__)

#: The client checks each record against it; the broker has a limit of its own for each topic.
MAX_REQUEST_BYTES = 4 * 1024 * 1024
#: A producer that had no acknowledgement for so long is asked with a few records before it is given
#: many. A broker that comes back, or hangs, may take them all and answer too late; they are then
#: published again by another producer, and its log has each of them twice.
ANSWERED_S = 1.0
#: Records to ask with, each of another key: their partitions rarely all lack a leader.
FEW = 8
_REFUSED = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidMessageError,
    PolicyViolationError,
    UnsupportedForMessageFormatError,
)

#: The broker and an idempotent producer disagree on a partition's sequence number. aiokafka goes on
#: counting, so every later batch of that partition fails too, while others succeed (#1017).
_OUT_OF_STEP = (OutOfOrderSequenceNumber, UnknownProducerId, ProducerFenced)


class Publisher:
    """Sends records with `acks=all`, each call limited in time.

    An async context manager; entering it does not connect, so a process starts without a broker.
    The idempotent producer of aiokafka 0.14 retries for ever: a record that was not acknowledged in
    time may still arrive later. Every reader recognises such repeats by their id. They cost work,
    so a broker that did not answer lately is asked with a few records first.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        metrics: Metrics,
        *,
        client_id: str,
        limits: ClientLimits = CLIENT_LIMITS,
        make: Callable[..., Any] = AIOKafkaProducer,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._client_id = client_id
        self._limits = limits
        self._make = make
        self._producer: Any | None = None
        self._starting = asyncio.Lock()
        self._answered_at = float("-inf")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what is pending for at most three seconds, then drop the rest."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await abandon(producer, flush_s=STOP_TIMEOUT_S)

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        """Return each record's place, or the error why it has none, in the order of `records`.

        Returns `BrokerAway` for those that were not acknowledged in time, and a `PermanentError`
        (reason `kafka_refused`) for those that Kafka will never take. Connecting, asking with a few
        records and sending the rest may each last `publish_timeout_s`.
        """
        if not records:
            return []
        with self._metrics.publish_seconds.time():
            sent = await self._publish(records)
        for record, outcome in zip(records, sent, strict=True):
            self._metrics.published.labels(record.topic, _name(outcome)).inc()
        return sent

    async def _publish(self, records: Sequence[Record]) -> list[Sent]:
        deadline = asyncio.get_running_loop().time() + self._limits.publish_timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                producer = await self._started()
        except (KafkaError, OSError, TimeoutError) as error:
            return [_away(error)] * len(records)
        sent: list[asyncio.Future[Any] | Exception | None] = [None] * len(records)
        first = _first_of_keys(records, FEW) if self._is_doubtful() else range(len(records))
        await self._send(producer, records, sent, first)
        if len(first) < len(records) and self._is_answered(sent, records):
            rest = sorted(set(range(len(records))).difference(first))
            await self._send(producer, records, sent, rest)
        outcomes = [self._outcome(one, record) for one, record in zip(sent, records, strict=True)]
        if any(isinstance(outcome, Place) for outcome in outcomes):
            self._answered_at = asyncio.get_running_loop().time()
        sends_nothing = all(isinstance(outcome, BrokerAway) for outcome in outcomes)
        if sends_nothing or _is_broken(producer) or _is_out_of_step(sent):
            await self._replace(producer)
        return outcomes

    def _is_doubtful(self) -> bool:
        """Return whether nothing shows that the broker answers this producer now."""
        return asyncio.get_running_loop().time() - self._answered_at > ANSWERED_S

    def _is_answered(
        self,
        sent: "Sequence[asyncio.Future[Any] | Exception | None]",
        records: Sequence[Record],
    ) -> bool:
        return any(
            not isinstance(self._outcome(one, record), BrokerAway)
            for one, record in zip(sent, records, strict=True)
        )

    async def _send(
        self,
        producer: Any,
        records: Sequence[Record],
        sent: "list[asyncio.Future[Any] | Exception | None]",
        indexes: Sequence[int],
    ) -> None:
        """Send the records at these indexes; wait for their outcomes until the limit."""
        try:
            async with asyncio.timeout(self._limits.publish_timeout_s):
                await asyncio.gather(
                    *(
                        self._send_topic(producer, records, sent, of_topic)
                        for of_topic in _by_topic(records, indexes)
                    )
                )
                waiting = [one for one in sent if isinstance(one, asyncio.Future)]
                if waiting:
                    await asyncio.wait(waiting)  # does not cancel them when time is up
        except TimeoutError:
            pass

    async def _send_topic(
        self,
        producer: Any,
        records: Sequence[Record],
        sent: "list[asyncio.Future[Any] | Exception | None]",
        of_topic: Sequence[int],
    ) -> None:
        """Send one topic's records in order; a topic that is missing must not delay the others."""
        for index in of_topic:
            record = records[index]
            try:
                future = await producer.send(
                    on_broker(self._settings, record.topic),
                    record.value,
                    key=record.key,
                    headers=list(record.headers),
                )
            except (KafkaError, OSError) as error:
                sent[index] = error
            else:
                future.add_done_callback(look_at_error)
                sent[index] = future

    def _outcome(self, sent: "asyncio.Future[Any] | Exception | None", record: Record) -> Sent:
        if sent is None or (isinstance(sent, asyncio.Future) and _is_open(sent)):
            return BrokerAway(f"no acknowledgement within {self._limits.publish_timeout_s} s")
        error = sent if isinstance(sent, Exception) else sent.exception()
        if error is None and isinstance(sent, asyncio.Future):
            acknowledged = sent.result()
            return Place(record.topic, acknowledged.partition, acknowledged.offset)
        if isinstance(error, _REFUSED):
            return PermanentError(
                f"{len(record.value)} bytes for {record.topic}: {type(error).__name__}: {error}",
                reason="kafka_refused",
            )
        if isinstance(error, KafkaError | OSError | TimeoutError):
            return _away(error)
        raise error or RuntimeError("a send without an outcome")

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                producer = self._make(
                    **client_options(
                        self._settings, client_id=self._client_id, limits=self._limits
                    ),
                    enable_idempotence=True,
                    linger_ms=2,
                    max_batch_size=256 * 1024,
                    max_request_size=MAX_REQUEST_BYTES,
                    compression_type="lz4",
                )
                try:
                    await producer.start()
                except BaseException:
                    await abandon(producer, flush_s=0)
                    raise
                self._producer = producer
            return self._producer

    async def _replace(self, producer: Any) -> None:
        """Drop a producer that can send nothing at all, or nothing to some partition (#1101)."""
        if self._producer is not producer:
            return
        self._producer = None
        self._answered_at = float("-inf")
        self._metrics.producer_restarts.inc()
        log.warning("producer_replaced", client_id=self._client_id)
        await abandon(producer, flush_s=0)


def _is_open(future: "asyncio.Future[Any]") -> bool:
    return not future.done() or future.cancelled()


def _by_topic(records: Sequence[Record], indexes: Sequence[int]) -> list[list[int]]:
    """Return the indexes of each topic's records, in their order."""
    topics: dict[str, list[int]] = {}
    for index in indexes:
        topics.setdefault(records[index].topic, []).append(index)
    return list(topics.values())


def _first_of_keys(records: Sequence[Record], most: int) -> list[int]:
    """Return the indexes of the first record of each key, at most so many.

    What is sent first then overtakes no record of the same key.
    """
    first: dict[tuple[str, bytes | None], int] = {}
    for index, record in enumerate(records):
        first.setdefault((record.topic, record.key), index)
    return list(first.values())[:most]


def _is_broken(producer: Any) -> bool:
    sender = producer._sender.sender_task  # noqa: SLF001
    return sender is None or sender.done()


def _is_out_of_step(sent: "Sequence[asyncio.Future[Any] | Exception | None]") -> bool:
    """Return whether this producer cannot send to some partition any more."""
    return any(
        isinstance(one, asyncio.Future)
        and not _is_open(one)
        and isinstance(one.exception(), _OUT_OF_STEP)
        for one in sent
    )


def _away(error: BaseException) -> BrokerAway:
    return BrokerAway(in_words(error))


def _name(outcome: Sent) -> str:
    if isinstance(outcome, Place):
        return "ok"
    return "refused" if isinstance(outcome, PermanentError) else "transient"
