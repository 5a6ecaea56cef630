"""CloudEvents in structured mode, as their own SDK makes them, mean what binary mode means."""

import json
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from consumers.tagging.arrivals import decode_arrival
from core.errors import UndecodableEvent
from core.messaging.cloudevents import decode, made_at
from core.messaging.formats.structured import in_binary_mode
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED, QUERIES_SUBMITTED

STRUCTURED = "application/cloudevents+json"
QUERY = {"text": "a cat", "callback_url": "https://example.org/hook", "options": {"top_n": 2}}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def event(data: Any, **more: Any) -> CloudEvent:
    attributes = {
        "id": "e-1",
        "source": "/elsewhere",
        "type": QUERIES_SUBMITTED.event_type,
        "datacontenttype": "application/json",
        "traceparent": TRACE,
    }
    return CloudEvent(attributes | more, data)


def received(message: KafkaMessage) -> Record:
    headers = tuple((name, bytes(value)) for name, value in message.headers.items())
    key = message.key.encode() if isinstance(message.key, str) else message.key
    return Record(QUERIES_SUBMITTED.name, key, headers, message.value)


def structured(document: Any, content_type: str = STRUCTURED) -> Record:
    value = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Record(QUERIES_SUBMITTED.name, None, (("content-type", content_type.encode()),), value)


@pytest.mark.parametrize("make", [to_binary, to_structured])
def test_both_modes_of_the_sdk_are_one_event(make: Any) -> None:
    record = in_binary_mode(received(make(event(QUERY), JSONFormat())))

    assert decode(QUERIES_SUBMITTED, record, QuerySubmitted) == QuerySubmitted.model_validate(QUERY)
    assert record.header("ce_id") == "e-1"
    assert record.header("ce_source") == "/elsewhere"
    assert record.header("ce_traceparent") == TRACE
    assert made_at(record) is not None


@pytest.mark.parametrize("make", [to_binary, to_structured])
def test_an_image_in_either_mode_is_its_bytes(make: Any) -> None:
    arrived = {"type": IMAGES_ARRIVED.event_type, "datacontenttype": "image/png"}
    record = in_binary_mode(received(make(event(b"\x89PNG \xff", **arrived), JSONFormat())))

    assert decode_arrival(record).content == b"\x89PNG \xff"


def test_a_record_of_binary_mode_stays_as_it_is() -> None:
    record = Record("t", None, (("content-type", b"application/json"),), b"{}")

    assert in_binary_mode(record) is record


def test_the_type_in_structured_mode_counts_too() -> None:
    document = {"specversion": "1.0", "id": "1", "source": "/", "type": "x.v9", "data": QUERY}

    with pytest.raises(UndecodableEvent) as caught:
        decode(QUERIES_SUBMITTED, in_binary_mode(structured(document)), QuerySubmitted)
    assert caught.value.reason == "unknown_schema_version"


CLOUD = {"specversion": "1.0", "id": "1", "source": "/", "type": "t"}


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (structured(b"{"), "JSON"),
        (structured(b"\xff\xfe{"), "UTF-8"),
        (structured(b"[" * 100_000), "deep"),
        (structured(b'{"specversion": ' + b"1" * 5000 + b"}"), "JSON"),
        (structured([CLOUD]), "one JSON object"),
        (structured({"data": QUERY}), "specversion"),
        (structured(CLOUD | {"ext": {"a": 1}}), "ext"),
        (structured(CLOUD | {"data_base64": "%%%"}), "base64"),
        (structured(CLOUD | {"data_base64": 7}), "base64"),
        (structured(CLOUD, "application/cloudevents+avro"), "avro"),
        (structured(CLOUD, STRUCTURED + "; charset=utf-16"), "utf-16"),
    ],
)
def test_what_only_says_that_it_is_structured_is_refused_with_the_reason(
    record: Record, told: str
) -> None:
    with pytest.raises(UndecodableEvent, match=told) as caught:
        in_binary_mode(record)
    assert caught.value.reason == "cloudevents_unreadable"


def test_a_batch_is_named() -> None:
    with pytest.raises(UndecodableEvent, match="one event per record") as caught:
        in_binary_mode(structured([CLOUD], "application/cloudevents-batch+json"))
    assert caught.value.reason == "cloudevents_batch"


def test_attributes_of_any_kind_become_text() -> None:
    odd: dict[str, Any] = {"flag": True, "count": 3, "odd": "\ud800", "none": None, "data": {}}
    record = in_binary_mode(structured(CLOUD | odd, STRUCTURED + "; charset=UTF-8"))

    assert (record.header("ce_flag"), record.header("ce_count")) == ("true", "3")
    assert record.header("ce_odd") == "?"
    assert record.header("ce_none") is None
    assert record.header("content-type") == "application/json"
