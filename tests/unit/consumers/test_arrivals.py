"""Records of direct producers: which are accepted, and the errors of others."""

import hashlib
import json

import pytest

from consumers.tagging.arrivals import decode_arrival
from core.errors import UndecodableEvent
from schemas.image import INLINE_MAX_BYTES, image_id_of
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED

JPEG = b"\xff\xd8\xff\xe0 not looked into here"


def record(value: bytes, **headers: str) -> Record:
    return Record(
        IMAGES_ARRIVED.name,
        None,
        tuple((name.replace("_", "-"), text.encode()) for name, text in headers.items()),
        value,
    )


def test_bare_json_without_any_header_is_an_arrival() -> None:
    arrival = decode_arrival(record(b'{"uri": "file:photos/a.jpg"}'))

    assert arrival.event.uri == "file:photos/a.jpg"
    assert arrival.event.image_path == "photos/a.jpg"
    assert arrival.event.image_id == image_id_of("file:photos/a.jpg")
    assert arrival.content is None


def test_an_image_in_the_record_is_identified_by_its_hash() -> None:
    arrival = decode_arrival(record(JPEG, content_type="image/jpeg"))

    digest = hashlib.sha256(JPEG).hexdigest()
    assert arrival.content == JPEG
    assert arrival.event.uri == f"blob:{digest}"
    assert arrival.event.image_id == image_id_of(f"blob:{digest}")
    assert arrival.event.image_path == f"sha256:{digest}"


def test_an_inline_image_may_bring_path_labels_and_top_k_in_headers() -> None:
    arrival = decode_arrival(
        Record(
            IMAGES_ARRIVED.name,
            None,
            (
                ("content-type", b"image/jpeg"),
                ("path", b"a.jpg"),
                ("labels", b'["cat", "dog"]'),
                ("top_k", b"2"),
            ),
            JPEG,
        )
    )

    assert arrival.event.image_path == "a.jpg"
    assert arrival.event.labels == ("cat", "dog")
    assert arrival.event.top_k == 2


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"not json", "value"),
        (b"{}", "uri"),
        (b'{"uri": "ftp://x/y"}', "scheme"),
        (b'{"uri": "file:/etc/passwd"}', "file:"),
        (b'{"uri": "file:photos/../../etc/passwd"}', "file:"),
        (b'{"uri": "blob:12"}', "blob:"),
        (json.dumps({"uri": "file:a/b", "labels": ["ca\x00t"]}).encode(), "NUL"),
        (json.dumps({"uri": "file:a/b", "labels": []}).encode(), "labels"),
        (json.dumps({"uri": "file:a/b", "labels": ["a", "a"]}).encode(), "repeat"),
        (json.dumps({"uri": "file:a/b", "top_k": 0}).encode(), "top_k"),
    ],
)
def test_a_malformed_event_is_refused_by_the_field_at_fault(value: bytes, told: str) -> None:
    with pytest.raises(UndecodableEvent, match=told):
        decode_arrival(record(value))


@pytest.mark.parametrize(
    "labels",
    [
        "[" * 3_000,
        "[" * 300_000,
        "1" * 5_000,
        "[1e999]",
        "[NaN]",
        '["\\ud800"]',
        '["\\u0000"]',
        "{}",
        '"cat"',
        "[[]]",
        "nan",
        "",
    ],
)
@pytest.mark.parametrize("top_k", ["9" * 5_000, "1e999", "nan", "0", "-1", "x"])
def test_headers_of_an_inline_image_break_nothing_but_their_record(labels: str, top_k: str) -> None:
    with pytest.raises(UndecodableEvent, match="header"):
        decode_arrival(record(JPEG, content_type="image/jpeg", labels=labels or "[", top_k="2"))
    wrong = (("content-type", b"image/jpeg"), ("top_k", top_k.encode()))
    with pytest.raises(UndecodableEvent, match="top_k"):
        decode_arrival(Record(IMAGES_ARRIVED.name, None, wrong, JPEG))


def test_another_version_of_the_event_is_refused_as_such() -> None:
    newer = Record(
        IMAGES_ARRIVED.name,
        None,
        (("ce_type", b"photoarchive.image.arrived.v2"),),
        b'{"uri": "file:a/b"}',
    )

    with pytest.raises(UndecodableEvent) as caught:
        decode_arrival(newer)

    assert caught.value.reason == "unknown_schema_version"


def test_an_inline_image_over_the_limit_is_refused_with_both_sizes() -> None:
    with pytest.raises(UndecodableEvent, match=f"{INLINE_MAX_BYTES + 1}.*{INLINE_MAX_BYTES}"):
        decode_arrival(record(b"x" * (INLINE_MAX_BYTES + 1), content_type="image/png"))


def test_labels_of_an_inline_image_must_be_a_json_list() -> None:
    with pytest.raises(UndecodableEvent, match="labels"):
        decode_arrival(record(JPEG, content_type="image/jpeg", labels="cat,dog"))
