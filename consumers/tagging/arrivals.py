"""Decode arrivals: a JSON event, or the image itself with its content type."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from core.errors import UndecodableEvent
from core.messaging.cloudevents import check_type, decode, made_at
from core.messaging.role import Received
from core.tags import Made
from schemas.image import INLINE_MAX_BYTES, SCAN_SOURCES, ImageArrived
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED, IMAGES_BULK

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_000  # 9999-12-31T23:59:59Z
_MOMENT = timedelta(milliseconds=1)  # the precision of a record's timestamp


@dataclass(frozen=True, slots=True)
class Arrival:
    """An arrival with the image's bytes where the record carried them."""

    event: ImageArrived
    content: bytes | None = None


def made(received: Received[Arrival]) -> Made:
    """Return when an arrival was made: the earlier of the two times that a record may have.

    Between 1970 and 9999: a record may say anything.
    """
    published = EPOCH + timedelta(milliseconds=max(0, min(received.timestamp_ms, _LAST_MS)))
    said = made_at(received.record)
    at = published if said is None or said >= published + _MOMENT else max(EPOCH, said)
    return Made(at.astimezone(UTC), received.partition.topic != IMAGES_BULK.name)


def is_scanned(record: Record) -> bool:
    """Return whether a scan found the file of an arrival: nobody asked for it."""
    return record.header("ce_source") in SCAN_SOURCES


def decode_arrival(record: Record) -> Arrival:
    """Return the arrival in a record.

    A record whose content type is `image/*` is the image itself. Its identity is the hash of its
    bytes; the headers `path`, `labels` (a JSON list) and `top_k` may say the rest.

    Raises:
        UndecodableEvent: neither an event nor an image that may travel inline.
    """
    content_type = record.header("content-type") or ""
    if not content_type.lower().startswith("image/"):
        return Arrival(decode(IMAGES_ARRIVED, record, ImageArrived))
    check_type(IMAGES_ARRIVED, record)
    if len(record.value) > INLINE_MAX_BYTES:
        raise UndecodableEvent(
            f"an inline image of {len(record.value)} bytes: the limit is {INLINE_MAX_BYTES}",
            reason="inline_image_too_large",
        )
    digest = hashlib.sha256(record.value).hexdigest()
    fields: dict[str, object] = {"uri": f"blob:{digest}", "sha256": digest}
    fields |= {name: record.header(name) for name in ("path", "top_k") if record.header(name)}
    if labels := record.header("labels"):
        fields["labels"] = _labels(labels)
    try:
        return Arrival(ImageArrived.model_validate(fields), record.value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise UndecodableEvent(f"header {place}: {problem['msg']}") from error


def _labels(header: str) -> object:
    try:
        return json.loads(header)
    except (ValueError, RecursionError) as error:
        raise UndecodableEvent(f"header labels is not a JSON list: {header[:100]!r}") from error
