"""A producer that is not ours: librdkafka, with transactions and every codec."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from confluent_kafka import KafkaError, Message, Producer

from core.settings import KafkaSettings
from schemas.record import Record

WITHIN_S = 60.0
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def login(kafka: KafkaSettings) -> dict[str, str | float]:
    """Return librdkafka's settings that lead to the broker of a test."""
    return {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
        "sasl.mechanism": kafka.sasl_mechanism,
        "sasl.username": kafka.sasl_username,
        "sasl.password": kafka.sasl_password.get_secret_value(),
    }


class ForeignProducer:
    """Sends records of ours by librdkafka, in transactions where it is asked to.

    Args:
        codec: how batches are compressed.
        lasts_s: how long a transaction may be open before the broker takes it back; None: there
            are no transactions.
    """

    def __init__(
        self, kafka: KafkaSettings, *, codec: str = "none", lasts_s: float | None = None
    ) -> None:
        options = login(kafka) | {"compression.type": codec, "linger.ms": 5}
        if lasts_s is not None:
            options["transactional.id"] = f"{kafka.topic_prefix}{uuid4().hex}"
            options["transaction.timeout.ms"] = round(lasts_s * 1000)
        self._prefix = kafka.topic_prefix
        self._failed: list[KafkaError] = []
        self.producer = Producer(options)
        if lasts_s is not None:
            self.producer.init_transactions(WITHIN_S)

    def send(self, records: Iterable[Record | tuple[Record, int]], partition: int = -1) -> None:
        """Send records, all to one partition where one is given; returns when Kafka has them."""
        for one in records:
            record, number = one if isinstance(one, tuple) else (one, partition)
            self.producer.produce(
                self._prefix + record.topic,
                record.value,
                record.key,
                number,
                headers=list(record.headers),
                on_delivery=self._note,
            )
        left = self.producer.flush(WITHIN_S)
        assert not left, f"{left} records were not taken"
        assert not self._failed, self._failed[:3]

    def tombstones(self, topic: str, partition: int, count: int) -> None:
        """Send records without a value."""
        for number in range(count):
            self.producer.produce(
                self._prefix + topic, None, str(number), partition, on_delivery=self._note
            )
        assert not self.producer.flush(WITHIN_S)
        assert not self._failed, self._failed[:3]

    def _note(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error)


@contextmanager
def transaction(producer: ForeignProducer, *, commit: bool = True) -> Iterator[None]:
    """Send what is sent in the block in one transaction; then commit it, or take it back."""
    producer.producer.begin_transaction()
    yield
    if commit:
        producer.producer.commit_transaction(WITHIN_S)
    else:
        producer.producer.abort_transaction(WITHIN_S)
