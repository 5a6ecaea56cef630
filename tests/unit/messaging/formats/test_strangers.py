"""Whoever sends another system's format is told what it is, and what to do."""

import gzip
import json

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.tagging.arrivals import decode_arrival
from core.errors import UndecodableEvent
from core.messaging.formats.strangers import named
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED

ARRIVAL = {"uri": "file:main/cat.jpg"}
TEXT = json.dumps(ARRIVAL)
CHANGE = {"before": None, "after": ARRIVAL, "source": {"db": "x"}, "op": "c", "ts_ms": 1}


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("value", "reason", "advice"),
    [
        (b"\xff\xd8\xff\xe0 jpeg", "content_type_missing", "content-type to image/jpeg"),
        (b"\x89PNG\r\n\x1a\n...", "content_type_missing", "image/png"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "content_type_missing", "image/webp"),
        (b"\x00\x00\x00\x1cftypavif", "content_type_missing", "image/avif"),
        (gzip.compress(TEXT.encode(), mtime=0), "compressed_value", "compression.type"),
        (bytes(cramjam.zstd.compress(TEXT.encode())), "compressed_value", "zstd"),
        (b"\x00\x00\x00\x01\x2c" + TEXT.encode(), "schema_registry_framing", "schema 300"),
        (b"\x00\x00\x00\x00\x07\x02avro", "schema_registry_framing", "without a registry"),
        (b"Obj\x01\x04", "avro", "JSON"),
        (TEXT.encode("utf-8-sig"), "byte_order_mark", "without one"),
        (TEXT.encode("utf-16"), "not_utf8", "UTF-16"),
        (TEXT.encode("utf-16-le"), "not_utf8", "UTF-8"),
        (TEXT.encode("utf-16-be"), "not_utf8", "UTF-8"),
        (TEXT.encode("utf-32"), "not_utf8", "UTF-32"),
        (as_json(CHANGE), "debezium_envelope", "ExtractNewRecordState"),
        (as_json({"schema": {}, "payload": CHANGE}), "debezium_envelope", "schemas.enable"),
        (as_json({"schema": {}, "payload": ARRIVAL}), "connect_envelope", "schemas.enable=false"),
        (as_json({"specversion": "1.0", "data": {}}), "cloudevents_content_type", "content-type"),
        (as_json(TEXT), "json_in_json", "object itself"),
        (as_json([ARRIVAL]), "json_list", "one record per event"),
    ],
)
def test_a_foreign_format_is_named_with_what_to_do(value: bytes, reason: str, advice: str) -> None:
    with pytest.raises(UndecodableEvent, match=advice) as caught:
        decode_arrival(Record(IMAGES_ARRIVED.name, None, (), value))

    assert caught.value.reason == reason


@pytest.mark.parametrize("value", [b"", b"{", b"hello", b"{}", b'{"uri": 7}', b"null", b"BMI, all"])
def test_what_is_merely_wrong_keeps_its_own_reason(value: bytes) -> None:
    with pytest.raises(UndecodableEvent) as caught:
        decode_arrival(Record(IMAGES_ARRIVED.name, None, (), value))

    assert caught.value.reason == "undecodable_event"


@given(st.binary(max_size=40))
def test_looking_breaks_nothing(value: bytes) -> None:
    named(value)


def test_looking_at_what_is_nested_deeply_breaks_nothing() -> None:
    assert named(b"[" * 200_000) is None
