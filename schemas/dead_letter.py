"""Headers that a dead letter carries beside the original bytes and headers."""

from dataclasses import dataclass

PREFIX = "dlq_"


@dataclass(frozen=True, slots=True)
class DeadLetterPlace:
    """The place of a record in its topic, and why it was set aside."""

    group: str
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str

    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """Return the `dlq_*` headers; the detail is cut at 1,000 bytes."""
        return (
            (f"{PREFIX}group", self.group.encode()),
            (f"{PREFIX}topic", self.topic.encode()),
            (f"{PREFIX}partition", str(self.partition).encode()),
            (f"{PREFIX}offset", str(self.offset).encode()),
            (f"{PREFIX}reason", self.reason.encode()),
            (f"{PREFIX}detail", self.detail.encode("utf-8", "replace")[:1000]),
        )
