"""How many partitions topics are created with is a setting; what is there is left as it is."""

import os
import subprocess
import sys
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from core.settings import KafkaSettings
from schemas.topics import EVENT_TOPICS, plan_topics
from tests.servers import kafka_login

ROOT = Path(__file__).parents[3]


def create_topics(kafka: KafkaSettings, partitions: int) -> str:
    """Run the set-up's step; return what it printed."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_PARTITIONS": str(partitions),
    }
    done = subprocess.run(
        [sys.executable, "-m", "migrations", "topics"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def counted(kafka: KafkaSettings) -> dict[str, int]:
    """Return the number of partitions of each topic of the plan."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers, **kafka_login(kafka))
    await admin.start()
    try:
        names = [kafka.topic_prefix + plan.name for plan in plan_topics()]
        found = await admin.describe_topics(names)
    finally:
        await admin.close()
    return {one["topic"].removeprefix(kafka.topic_prefix): len(one["partitions"]) for one in found}


async def test_topics_are_created_with_as_many_partitions_as_the_setting_says(
    kafka: KafkaSettings,
) -> None:
    create_topics(kafka, 5)

    found = await counted(kafka)
    assert {found[topic.name] for topic in EVENT_TOPICS} == {5}
    assert {count for name, count in found.items() if name.endswith(".dlq")} == {3}


async def test_another_number_later_changes_nothing_and_is_told(kafka: KafkaSettings) -> None:
    create_topics(kafka, 5)

    told = create_topics(kafka, 12)

    assert f"{kafka.topic_prefix}images.arrived.v1: 5 partitions, the plan has 12" in told
    assert (await counted(kafka))["images.arrived.v1"] == 5
