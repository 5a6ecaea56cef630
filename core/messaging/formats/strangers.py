"""Formats that other systems put on a topic, told by their first bytes or their fields.

Asked only where a value could not be decoded: whoever sent it is told what it is and what to do.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from core.errors import UndecodableEvent

_FRAME_BYTES = 5  # of a schema registry: a zero, and the schema's number in four
_FEW = 200  # bytes are enough to tell a text's encoding
#: What images begin with, by the content type that their record should have.
_IMAGES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF8": "image/gif",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
}
_BRANDS = {
    b"avif": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
}
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


class Named(NamedTuple):
    """A format that we do not read.

    Attributes:
        reason: stable.
        advice: what it is, and what to do.
    """

    reason: str
    advice: str


def named(value: bytes) -> Named | None:
    """Return the foreign format of a value that could not be decoded; None where none is known."""
    return _by_bytes(value) or _by_encoding(value) or _by_fields(value)


def explained(value: bytes, error: UndecodableEvent) -> UndecodableEvent:
    """Return the error with what the value seems to be; as it is where nothing is known."""
    found = named(value)
    if found is None:
        return error
    return UndecodableEvent(f"{found.advice} ({error})", reason=found.reason)


def image_type(value: bytes) -> str | None:
    """Return the content type of an image, by its first bytes; None where it is none."""
    if value[:4] == b"RIFF" and value[8:12] == b"WEBP":
        return "image/webp"
    if value[4:8] == b"ftyp":
        return _BRANDS.get(value[8:12])
    if value[:2] == b"BM" and value[6:10] == bytes(4):
        return "image/bmp"
    return next((kind for magic, kind in _IMAGES.items() if value.startswith(magic)), None)


def _by_bytes(value: bytes) -> Named | None:
    if (kind := image_type(value)) is not None:
        return Named("content_type_missing", f"an image: set the header content-type to {kind}")
    for magic, codec in _PACKED.items():
        if value.startswith(magic):
            return Named(
                "compressed_value",
                f"the value itself is compressed ({codec}): send it plain, and let Kafka's client "
                "compress batches (compression.type)",
            )
    if value.startswith(b"Obj\x01"):
        return Named("avro", "a file of Avro: send JSON")
    return None


def _by_encoding(value: bytes) -> Named | None:
    if (encoding := _encoding(value)) is not None:
        return Named("not_utf8", f"text in {encoding}: send JSON in UTF-8")
    if value.startswith(b"\xef\xbb\xbf"):
        return Named(
            "byte_order_mark", "begins with a byte order mark: send JSON in UTF-8 without one"
        )
    if len(value) > _FRAME_BYTES and value[0] == 0:
        number = int.from_bytes(value[1:_FRAME_BYTES], "big")
        return Named(
            "schema_registry_framing",
            f"begins with the frame of a schema registry (schema {number}): send plain JSON, by a "
            "serializer without a registry",
        )
    return None


def _encoding(value: bytes) -> str | None:
    """Return the encoding of a text with two or four bytes for each letter of JSON."""
    if value.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "UTF-32"
    if value.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    few = value[: _FEW - _FEW % 2]
    for zeros, letters in ((few[1::2], few[::2]), (few[::2], few[1::2])):
        if letters[:1] in (b"{", b"[", b'"') and len(zeros) > 1 and not any(zeros):
            return "UTF-16"
    return None


def _by_fields(value: bytes) -> Named | None:
    try:
        told = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if isinstance(told, str):
        return Named("json_in_json", "a JSON text that holds a text: send the object itself")
    if isinstance(told, list):
        return Named("json_list", "a JSON list: send one record per event")
    return _envelope(told) if isinstance(told, dict) else None


def _envelope(told: Mapping[str, object]) -> Named | None:
    names = told.keys()
    inner = told["payload"] if names == {"schema", "payload"} else told
    if isinstance(inner, dict) and "op" in inner and {"before", "after"} & inner.keys():
        return Named(
            "debezium_envelope",
            "a change event of Debezium: unwrap it (transform ExtractNewRecordState) and let the "
            "row have the fields of this topic, without schemas (schemas.enable=false)",
        )
    if names == {"schema", "payload"}:
        return Named(
            "connect_envelope",
            "an envelope of Kafka Connect: set schemas.enable=false at its JsonConverter",
        )
    if "specversion" in names and names & {"data", "data_base64"}:
        return Named(
            "cloudevents_content_type",
            "CloudEvents in structured mode: set the header content-type to "
            "application/cloudevents+json",
        )
    return None
