"""Requests and responses about dead letters, for administrators."""

from datetime import datetime

from pydantic import Field, field_validator

from ingress.models.roots import Input, Output, Words, examples
from schemas.strict import read_whole
from schemas.topics import BY_NAME, GROUPS, dead_letter_topic

MAX_REPLAYED = 1000
_TOPICS = (
    *BY_NAME,
    *(dead_letter_topic(topic.name, group) for group, topic in GROUPS.items()),
)


class ShownLetter(Output):
    """A dead letter, without its value."""

    letter_id: int
    group: str = Field(description="The consumer group that set it aside.")
    topic: str
    partition: int
    offset: int
    key: str | None
    headers: dict[str, str] = Field(description="As text; values are cut after 200 characters.")
    size_bytes: int = Field(description="Of its value.")
    reason: str
    detail: str
    quarantined: bool = Field(description="Kafka refuses its copy on the dead-letter topic.")
    recorded_at: datetime | None = Field(description="By the clock of whoever sent it.")
    set_aside_at: datetime


class ShownLetterGroup(Output):
    """Number of dead letters with the same group, topic and reason."""

    group: str
    topic: str
    reason: str
    letters: int
    newest_at: datetime


class LetterPage(Output):
    """Some dead letters that were not replayed."""

    groups: tuple[ShownLetterGroup, ...] = Field(
        description="All that are there, counted among the newest 10,000; the most first."
    )
    letters: tuple[ShownLetter, ...]
    next: str | None = Field(description="Cursor of the page that follows; null on the last one.")


class ReplayRequest(Input):
    """`POST /dead-letters/replay`: dead letters to put back on their topic."""

    model_config = examples(
        {"topic": "images.arrived.v1", "reason": "truncated", "dry_run": True},
        {"topic": "images.arrived.v1.tagging.dlq", "limit": 500},
    )

    topic: Words = Field(
        min_length=1,
        max_length=249,
        description="A topic, or one of its dead-letter topics.",
        json_schema_extra={"enum": list(_TOPICS)},
    )
    group: Words | None = Field(
        None, min_length=1, max_length=249, description="Only what this group set aside."
    )
    reason: Words | None = Field(
        None, min_length=1, max_length=100, description="Only what was set aside for this."
    )
    limit: int = Field(100, ge=1, le=MAX_REPLAYED, description="At most so many, oldest first.")
    dry_run: bool = Field(False, description="Only count.")

    _read_limit = field_validator("limit", mode="before")(read_whole)


class ReplayOutcome(Output):
    """The outcome of a replay."""

    matched: dict[str, int] | None = Field(
        None, description="Letters that match, by reason; counted with `dry_run` alone."
    )
    replayed: dict[str, int] = Field(description="What Kafka has again, by reason.")
    refused: dict[str, int] = Field(
        description="What Kafka did not take, by its reason; `broker_away`: ask again."
    )
    unreadable: int | None = Field(
        None,
        description="Letters that cannot be put back, because only their places are known; counted"
        " with `dry_run` alone.",
    )
