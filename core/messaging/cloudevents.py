"""CloudEvents 1.0 in Kafka binary mode: attributes in `ce_*` headers, the value as it is.

Source: CloudEvents Kafka Protocol Binding 1.0.2, section 3.2. Foreign producers may leave the
attributes out: a bare JSON value, or an image with its content type, is accepted too. Structured
mode is turned into this one before (`core.messaging.formats.structured`).
"""

from datetime import UTC, datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from core.errors import UndecodableEvent
from core.messaging.formats.strangers import explained
from core.telemetry import tracing
from schemas.record import Record
from schemas.topics import Topic

JSON = "application/json"
ModelT = TypeVar("ModelT", bound=BaseModel)


def encode(
    topic: Topic,
    event: BaseModel,
    *,
    key: str,
    event_id: str,
    source: str,
    now: datetime,
) -> Record:
    """Return the record that carries `event` on `topic`."""
    headers = envelope(topic, event_id=event_id, source=source, subject=key, now=now)
    value = event.model_dump_json(exclude_none=True).encode()
    return Record(topic.name, key.encode(), (*headers, ("content-type", JSON.encode())), value)


def in_trace(record: Record, traceparent: str | None) -> Record:
    """Return a record in the trace of what caused it, if that has a valid one."""
    context = tracing.valid(traceparent)
    if context is None:
        return record
    trace = ("traceparent", context.encode())
    return Record(record.topic, record.key, (*record.headers, trace), record.value)


def envelope(
    topic: Topic, *, event_id: str, source: str, subject: str, now: datetime
) -> tuple[tuple[str, bytes], ...]:
    """Return the `ce_*` headers of an event of `topic`."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", topic.event_type.encode()),
        ("ce_time", now.astimezone(UTC).isoformat().encode()),
        ("ce_subject", subject.encode()),
    )


def decode(topic: Topic, record: Record, model: type[ModelT]) -> ModelT:
    """Return the event in a JSON record.

    Raises:
        UndecodableEvent: another event type, a version that is not known, no JSON, or a field
            that breaks its rule; the message names the field and the rule. Where the value has a
            format of another system, reason and message name that.
    """
    check_type(topic, record)
    try:
        return model.model_validate_json(record.value, strict=True)  # as the HTTP face reads
    except ValidationError as error:
        raise explained(record.value, UndecodableEvent(_explain(error))) from error


def check_type(topic: Topic, record: Record) -> None:
    """Raise if the record claims to be something other than an event of this topic.

    Raises:
        UndecodableEvent: `ce_specversion` is not 1.x, or `ce_type` is another type or version.
    """
    version, kind = record.header("ce_specversion"), record.header("ce_type")
    if version is not None and not version.startswith("1."):
        raise UndecodableEvent(
            f"ce_specversion {version!r} is not 1.x", reason="unknown_schema_version"
        )
    if kind is not None and kind != topic.event_type:
        raise UndecodableEvent(
            f"ce_type {kind!r} is not {topic.event_type!r}", reason="unknown_schema_version"
        )


def made_at(record: Record) -> datetime | None:
    """Return when the event was made (`ce_time`); None where it is absent or not a time.

    Not the record's own timestamp, which is that of its publishing: an event may have waited in the
    outbox, or come back from the dead letters.
    """
    try:
        moment = datetime.fromisoformat(record.header("ce_time") or "")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _explain(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)
    listed = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'value'}: {problem['msg']}"
        for problem in problems[:5]
    )
    return listed + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
