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
from core.messaging.kafka.connection import client_options, is_cancelled, on_broker
from core.messaging.limits import CLIENT_LIMITS, ClientLimits
from core.messaging.ports import Sent
from core.offsets import Place
from core.settings import KafkaSettings
from core.telemetry.metrics import Metrics
from schemas.record import Record

log = structlog.get_logger(__name__)

#: The client checks each record against it; the broker has a limit of its own for each topic.
MAX_REQUEST_BYTES = 4 * 1024 * 1024
STOP_TIMEOUT_S = 3.0
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
    time may still arrive later. Every reader recognises such repeats by their id.
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what is pending for at most three seconds, then drop the rest."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _abandon(producer, flush_s=STOP_TIMEOUT_S)

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        """Return each record's place, or the error why it has none, in the order of `records`.

        Returns `BrokerAway` for those that were not acknowledged within `publish_timeout_s`, and
        a `PermanentError` (reason `kafka_refused`) for those that Kafka will never take.
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
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.gather(
                    *(
                        self._send_topic(producer, topic, records, sent)
                        for topic in _topics(records)
                    )
                )
                waiting = [one for one in sent if isinstance(one, asyncio.Future)]
                if waiting:
                    await asyncio.wait(waiting)  # does not cancel them when time is up
        except TimeoutError:
            pass
        outcomes = [self._outcome(one, record) for one, record in zip(sent, records, strict=True)]
        sends_nothing = all(isinstance(outcome, BrokerAway) for outcome in outcomes)
        if sends_nothing or _is_broken(producer) or _is_out_of_step(sent):
            await self._replace(producer)
        return outcomes

    async def _send_topic(
        self,
        producer: Any,
        topic: str,
        records: Sequence[Record],
        sent: "list[asyncio.Future[Any] | Exception | None]",
    ) -> None:
        """Send one topic's records in order; a topic that is missing must not delay the others."""
        name = on_broker(self._settings, topic)
        for index, record in enumerate(records):
            if record.topic != topic:
                continue
            try:
                future = await producer.send(
                    name, record.value, key=record.key, headers=list(record.headers)
                )
            except (KafkaError, OSError) as error:
                sent[index] = error
            else:
                future.add_done_callback(_look_at_error)
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
                    await _abandon(producer, flush_s=0)
                    raise
                self._producer = producer
            return self._producer

    async def _replace(self, producer: Any) -> None:
        """Drop a producer that can send nothing at all, or nothing to some partition (#1101)."""
        if self._producer is not producer:
            return
        self._producer = None
        self._metrics.producer_restarts.inc()
        log.warning("producer_replaced", client_id=self._client_id)
        await _abandon(producer, flush_s=0)


async def _abandon(producer: Any, *, flush_s: float) -> None:
    """Stop a producer without hanging. The records that it holds fail; they are not sent later.

    `stop()` alone waits for ever with the broker away, and cancelling it leaves the sender alive:
    the sender is ended by hand (private names of aiokafka 0.14).
    """
    if flush_s:
        try:
            async with asyncio.timeout(flush_s):
                await producer.flush()
        except (KafkaError, OSError, TimeoutError):
            pass
    sender = producer._sender.sender_task  # noqa: SLF001
    for _ in range(2):  # the first cancellation lets it await its requests, the second does not
        if sender is None or sender.done():
            break
        sender.cancel()
        await asyncio.wait([sender], timeout=1.0)
    _fail_unsent(producer._message_accumulator)  # noqa: SLF001
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("producer_stop_failed", error=repr(error))
    except asyncio.CancelledError as error:
        if is_cancelled():  # else the sender raised it, and it would end our caller silently
            raise
        log.warning("producer_stop_failed", error=repr(error))


def _fail_unsent(accumulator: Any) -> None:
    """Fail what a producer holds, without unretrieved exceptions in the event loop."""
    for batches in accumulator._batches.values():  # noqa: SLF001
        # A batch that was put back after a failed send removes itself from the pending ones when it
        # ends, and must be there; and usually nobody waits for a batch to be drained.
        accumulator._pending_batches.update(batches)  # noqa: SLF001
        for batch in batches:
            batch._drain_waiter.add_done_callback(_look_at_error)  # noqa: SLF001
    accumulator.fail_all(KafkaError("producer abandoned"))


def _is_open(future: "asyncio.Future[Any]") -> bool:
    return not future.done() or future.cancelled()


def _topics(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(record.topic for record in records))


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


def _look_at_error(future: "asyncio.Future[Any]") -> None:
    """Retrieve the exception of a record, since nobody may be waiting for it any more."""
    if not future.cancelled():
        future.exception()


def _away(error: BaseException) -> BrokerAway:
    return BrokerAway(f"{type(error).__name__}: {error}")


def _name(outcome: Sent) -> str:
    if isinstance(outcome, Place):
        return "ok"
    return "refused" if isinstance(outcome, PermanentError) else "transient"
