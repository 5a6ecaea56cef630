"""Name, event type, key and partitions of every topic. Topic names are written only here."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from schemas.callback import CallbackRequested
from schemas.image import ImageArrived, ImageTagged
from schemas.query import QuerySubmitted

DAY_MS = 24 * 3600 * 1000
EVENT_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of the contract.

    Attributes:
        event_type: the CloudEvents type of its records.
        key: what the record's key is, as the generated documents say it.
        partitions: how many it is created with, unless the set-up is told another number.
        max_message_bytes: the broker's limit for a record; dead letters add 64 KiB for headers.
    """

    name: str
    event_type: str
    model: type[BaseModel]
    key: str
    partitions: int = 12
    retention_ms: int = 7 * DAY_MS
    max_message_bytes: int = EVENT_MAX_BYTES


IMAGES_ARRIVED = Topic(
    "images.arrived.v1", "photoarchive.image.arrived.v1", ImageArrived, "image_id"
)
#: The same events as `images.arrived.v1`, for loads that nobody waits for: whatever is there, the
#: fresh go first.
IMAGES_BULK = Topic("images.bulk.v1", IMAGES_ARRIVED.event_type, ImageArrived, "image_id")
IMAGES_TAGGED = Topic("images.tagged.v1", "photoarchive.image.tagged.v1", ImageTagged, "image_id")
QUERIES_SUBMITTED = Topic(
    "queries.submitted.v1", "photoarchive.query.submitted.v1", QuerySubmitted, "query_id"
)
CALLBACKS_REQUESTED = Topic(
    "callbacks.requested.v1",
    "photoarchive.callback.requested.v1",
    CallbackRequested,
    "callback host",
)
EVENT_TOPICS = (
    IMAGES_ARRIVED,
    IMAGES_BULK,
    IMAGES_TAGGED,
    QUERIES_SUBMITTED,
    CALLBACKS_REQUESTED,
)
BY_NAME = {topic.name: topic for topic in EVENT_TOPICS}


class Lane(StrEnum):
    """The two ways of an arrival to its tags: a topic and a consumer group each."""

    FRESH = "fresh"
    BULK = "bulk"

    @property
    def topic(self) -> Topic:
        """Return the topic of its arrivals."""
        return IMAGES_BULK if self is Lane.BULK else IMAGES_ARRIVED

    @property
    def group(self) -> str:
        """Return the consumer group that tags them."""
        return "tagging-bulk" if self is Lane.BULK else "tagging"


#: Every consumer group, and the topic that it reads.
GROUPS = {
    **{lane.group: lane.topic for lane in Lane},
    "query": QUERIES_SUBMITTED,
    "delivery": CALLBACKS_REQUESTED,
}


def dead_letter_topic(topic: str, group: str) -> str:
    """Return the name of the topic with copies of the records that `group` set aside."""
    return f"{topic}.{group}.dlq"


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic that the set-up step creates: its name and its broker-side settings."""

    name: str
    partitions: int
    config: tuple[tuple[str, str], ...]


def plan_topics(partitions: int | None = None) -> tuple[TopicPlan, ...]:
    """Return all topics that must exist, dead-letter topics included.

    Args:
        partitions: of each topic but those of dead letters, which few records reach.
    """
    plans = [
        TopicPlan(
            topic.name,
            partitions or topic.partitions,
            (
                ("retention.ms", str(topic.retention_ms)),
                ("retention.bytes", "-1"),
                ("max.message.bytes", str(topic.max_message_bytes)),
                # Retention counts from when the broker took a record, whatever it says itself.
                ("message.timestamp.type", "LogAppendTime"),
            ),
        )
        for topic in EVENT_TOPICS
    ]
    plans += [
        TopicPlan(
            dead_letter_topic(topic.name, group),
            3,
            (
                ("retention.ms", str(30 * DAY_MS)),
                ("max.message.bytes", str(topic.max_message_bytes + 64 * 1024)),
            ),
        )
        for group, topic in GROUPS.items()
    ]
    return tuple(plans)
