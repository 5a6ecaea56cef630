"""Topics: created if absent, by the plan in `schemas.topics`; never auto-created."""

from core.messaging.kafka.topics import ensure_topics
from core.settings import KafkaSettings, load
from schemas.topics import plan_topics


async def create() -> None:
    """Create what is missing and print what differs from the plan.

    Raises:
        BrokerAway: Kafka cannot be reached.
    """
    settings = load(KafkaSettings)
    for warning in await ensure_topics(settings, plan_topics(settings.partitions)):
        print(f"topics: {warning}")  # noqa: T201
