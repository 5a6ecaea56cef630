"""CloudEvents in structured mode: attributes and data in one JSON object.

Source: CloudEvents Kafka Protocol Binding 1.0.2, section 3.3, and JSON Event Format 1.0.2. It is
turned into binary mode, so that nothing else has to know of it; a dead letter keeps the original.
"""

import base64
import binascii
import json
from typing import Any, NoReturn

from core.errors import UndecodableEvent
from schemas.record import Record

_FAMILY = "application/cloudevents"
_JSON = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch"
_DATA = frozenset({"data", "data_base64", "datacontenttype"})
_UTF_8 = frozenset({"", "utf-8", "utf8", "us-ascii"})


def in_binary_mode(record: Record) -> Record:
    """Return a record of structured mode in binary mode; any other as it is.

    Raises:
        UndecodableEvent: it says that it is in structured mode, and cannot be read as such.
    """
    content_type = record.header("content-type")
    if content_type is None or not content_type.lstrip().lower().startswith(_FAMILY):
        return record
    _check_format(content_type)
    event = _parsed(record.value)
    value = _data(event)
    kept = tuple(header for header in record.headers if header[0].lower() != "content-type")
    attributes = tuple(
        (f"ce_{name}", _text(name, given))
        for name, given in event.items()
        if name not in _DATA and given is not None
    )
    media = (("content-type", _text("datacontenttype", event.get("datacontenttype") or _PLAIN)),)
    return Record(record.topic, record.key, (*kept, *attributes, *media), value)


_PLAIN = "application/json"  # what data is where nothing else is said


def _check_format(content_type: str) -> None:
    media, _, parameters = content_type.strip().lower().partition(";")
    media = media.strip()
    if media.startswith(_BATCH):
        raise UndecodableEvent(
            "a batch of CloudEvents: send one event per record, with content-type " + _JSON,
            reason="cloudevents_batch",
        )
    if media != _JSON:
        _refuse(f"CloudEvents as {media[:100]!r}: send {_JSON}, or binary mode with ce_* headers")
    charset = next(
        (part.partition("=")[2] for part in parameters.split(";") if "charset" in part), ""
    )
    if charset.strip(' "') not in _UTF_8:
        _refuse(f"CloudEvents in the charset {charset[:100]!r}: send UTF-8")


def _parsed(value: bytes) -> dict[str, Any]:
    try:
        event = json.loads(value.decode())
    except UnicodeDecodeError as error:
        _refuse(f"CloudEvents in structured mode that are no UTF-8: {error}", error)
    except RecursionError as error:
        _refuse("CloudEvents in structured mode, nested too deeply", error)
    except ValueError as error:
        _refuse(f"CloudEvents in structured mode that are no JSON: {error}", error)
    if not isinstance(event, dict):
        _refuse("CloudEvents in structured mode are one JSON object")
    if not isinstance(event.get("specversion"), str):
        _refuse("CloudEvents in structured mode without specversion")
    return event


def _data(event: dict[str, Any]) -> bytes:
    packed = event.get("data_base64")
    if packed is not None:
        try:
            return base64.b64decode(packed, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            _refuse(f"data_base64 is no base64: {error}", error)
    data, kind = event.get("data"), str(event.get("datacontenttype") or _PLAIN)
    media = kind.partition(";")[0].strip().lower()
    if isinstance(data, str) and media != _PLAIN and not media.endswith("+json"):
        return data.encode("utf-8", "replace")
    return json.dumps(data).encode()


def _text(name: str, given: object) -> bytes:
    if isinstance(given, bool):
        return str(given).lower().encode()
    if not isinstance(given, str | int):
        _refuse(f"the CloudEvents attribute {name[:50]!r} is no text, number or truth value")
    return str(given).encode("utf-8", "replace")


def _refuse(why: str, error: Exception | None = None) -> NoReturn:
    raise UndecodableEvent(why, reason="cloudevents_unreadable") from error
