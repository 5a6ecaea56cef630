"""Events by librdkafka and the SDK of CloudEvents reach a role from the real broker."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cloudevents.core.bindings.kafka import KafkaMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from core.errors import PermanentError, RecordBroke
from core.messaging.cloudevents import decode
from core.messaging.role import Item, Outcome, Received, Rejection
from core.settings import DatabaseSettings, KafkaSettings
from core.transaction import Transaction
from schemas.query import QuerySubmitted
from schemas.record import Record
from tests.counting import TOPIC, open_bench
from tests.integration.messaging.foreign import ForeignProducer
from tests.integration.messaging.test_foreign_producers import at_the_end
from tests.integration.messaging.test_loop import run_until

QUERY = {"callback_url": "https://example.org/hook"}
SENT = {"id": "e", "source": "/elsewhere", "datacontenttype": "application/json"}


def asked(record: Record) -> QuerySubmitted:
    return decode(TOPIC, record, QuerySubmitted)


@dataclass(slots=True)
class HearingRole:
    """Keeps what reached it, and breaks where it is told to."""

    heard: list[Received[QuerySubmitted]] = field(default_factory=list)

    async def prepare(
        self, batch: Sequence[Received[QuerySubmitted]]
    ) -> list[Item[QuerySubmitted, str]]:
        for received in batch:
            if received.event.text == "break":
                int(received.event.options.min_score * 1e999)  # OverflowError
        return [Item(received, received.event.text) for received in batch]

    async def apply(self, items: Sequence[Item[QuerySubmitted, str]], tx: Transaction) -> Outcome:
        del tx
        self.heard += [item.received for item in items if isinstance(item.plan, str)]
        return Outcome(
            rejected=tuple(
                Rejection(item.received.partition, item.received.offset, item.plan)
                for item in items
                if isinstance(item.plan, PermanentError)
            )
        )


def record(message: KafkaMessage) -> Record:
    headers = tuple((name, bytes(value)) for name, value in message.headers.items())
    return Record(TOPIC.name, b"k", headers, message.value)


def cloud(text: str, make: Any, **more: Any) -> Record:
    attributes = SENT | {"type": TOPIC.event_type, "id": text} | more
    return record(make(CloudEvent(attributes, QUERY | {"text": text}), JSONFormat()))


async def test_either_mode_is_heard_and_a_hostile_record_costs_itself(
    kafka: KafkaSettings, database: DatabaseSettings
) -> None:
    role = HearingRole()
    async with open_bench(kafka, database) as bench:
        bench.parts = replace(bench.parts, role=role, decode=asked)  # type: ignore[arg-type]  # of other events

        def produce() -> None:
            whole = b'{"text": "%s", "callback_url": "https://example.org/h"%s}'
            ForeignProducer(kafka, codec="zstd").send(
                [
                    cloud("binary", to_binary),
                    cloud("structured", to_structured),
                    cloud("of another type", to_structured, type="x"),
                    Record(TOPIC.name, b"k", (), whole % (b"plain", b"")),
                    Record(
                        TOPIC.name, b"k", (), whole % (b"x", b', "options": {"min_score": 1e999}')
                    ),
                    Record(
                        TOPIC.name, b"k", (), whole % (b"break", b', "options": {"min_score": 1}')
                    ),
                    Record(TOPIC.name, b"k", (("labels", b"[" * 3000),), b"[" * 3000),
                    Record(TOPIC.name, b"k", (), b"\x00\x00\x00\x00\x01" + whole % (b"y", b"")),
                    Record(TOPIC.name, b"k", (), whole % (b"last", b"")),
                ]
            )

        await asyncio.to_thread(produce)
        await run_until(bench, lambda: at_the_end(bench, kafka))

        texts = [received.event.text for received in role.heard]
        assert texts == ["binary", "structured", "plain", "last"]
        assert [received.event_id for received in role.heard[:2]] == ["binary", "structured"]
        rows = await bench.pool.fetch("SELECT reason, value FROM dead_letters ORDER BY log_offset")
        assert [row["reason"] for row in rows] == [
            "unknown_schema_version",
            "undecodable_event",
            RecordBroke.default_reason,
            "undecodable_event",
            "schema_registry_framing",
        ]
        assert b'"specversion"' in rows[0]["value"], "a dead letter keeps the bytes as they came"
