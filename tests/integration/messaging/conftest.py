"""Settings of one test: its own topics, group and database."""

import pytest

from core.settings import DatabaseSettings, KafkaSettings
from tests.counting import set_up


@pytest.fixture
def kafka(kafka_bootstrap: str, topics_prefix: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=kafka_bootstrap,
        topic_prefix=topics_prefix,
        session_timeout_ms=6000,
    )


@pytest.fixture
async def database(database_url: str, kafka: KafkaSettings) -> DatabaseSettings:
    """A database with the table of effects; the topics are there too."""
    settings = DatabaseSettings(url=database_url)
    await set_up(kafka, settings)
    return settings
