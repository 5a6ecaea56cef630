"""AsyncAPI 3.0 from the topics and their event models."""

from typing import Any

from pydantic.json_schema import models_json_schema

from schemas.image import INLINE_MAX_BYTES
from schemas.topics import EVENT_TOPICS, GROUPS, QUERIES_SUBMITTED, Lane, Topic, dead_letter_topic

_TEMPLATE = "#/components/schemas/{model}"
_ARRIVALS = tuple(lane.topic for lane in Lane)
#: Topics on which anybody may publish (`docs/producers.md`); the others are read only.
_OPEN = (*_ARRIVALS, QUERIES_SUBMITTED)

Document = dict[str, Any]


def build(*, version: str, bootstrap: str) -> Document:
    """Return the document of all topics.

    Args:
        bootstrap: host and port of the brokers, as clients reach them.
    """
    mapping, definitions = models_json_schema(
        [(topic.model, "validation") for topic in EVENT_TOPICS], ref_template=_TEMPLATE
    )
    payloads = {model: schema for (model, _), schema in mapping.items()}
    channels = {_id(topic.name): _channel(topic) for topic in EVENT_TOPICS}
    channels |= {
        _id(dead_letter_topic(topic.name, group)): _dead_letters(topic, group)
        for group, topic in GROUPS.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Photo archive events",
            "version": version,
            "description": "CloudEvents 1.0 in Kafka binary mode: attributes in `ce_*` headers.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": bootstrap, "protocol": "kafka"}},
        "channels": channels,
        "operations": _operations(),
        "components": {
            "schemas": definitions["$defs"],
            "messages": {
                _id(topic.name): _message(topic, payloads[topic.model]) for topic in EVENT_TOPICS
            },
        },
    }


def _id(name: str) -> str:
    return name.replace(".", "_")


def _channel(topic: Topic) -> Document:
    return {
        "address": topic.name,
        "description": f"Key: {topic.key}.",
        "messages": {"event": {"$ref": f"#/components/messages/{_id(topic.name)}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,  # how many partitions it has is the installation's matter
                "topicConfiguration": {
                    "retention.ms": topic.retention_ms,
                    "max.message.bytes": topic.max_message_bytes,
                },
            }
        },
    }


def _dead_letters(topic: Topic, group: str) -> Document:
    name = dead_letter_topic(topic.name, group)
    return {
        "address": name,
        "description": f"What `{group}` set aside: the original bytes and headers, and `dlq_*`.",
        "messages": {"event": {"$ref": f"#/components/messages/{_id(topic.name)}"}},
    }


def _message(topic: Topic, payload: Document) -> Document:
    message: Document = {
        "name": topic.event_type,
        "title": topic.model.__name__,
        "summary": (topic.model.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/json",
        "headers": _headers(topic),
        "payload": payload,
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}}},
    }
    if topic in _ARRIVALS:
        message["description"] = (
            "The image itself may be the value instead: content-type `image/*`, up to"
            f" {INLINE_MAX_BYTES} bytes."
        )
    return message


def _headers(topic: Topic) -> Document:
    text = {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_type": {"type": "string", "const": topic.event_type},
            "ce_id": text,
            "ce_source": text,
            "ce_subject": text,
            "ce_time": {"type": "string", "format": "date-time"},
            "content-type": text,
            "traceparent": text,
        },
    }


def _operations() -> Document:
    operations: Document = {}
    for topic in EVENT_TOPICS:
        channel = {"$ref": f"#/channels/{_id(topic.name)}"}
        # From the application's side: it receives what others may send.
        if topic in _OPEN:
            operations[f"receive_{_id(topic.name)}"] = {"action": "receive", "channel": channel}
        operations[f"send_{_id(topic.name)}"] = {"action": "send", "channel": channel}
    return operations
