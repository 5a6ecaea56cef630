"""Topics created by an explicit, idempotent step; differences from the plan are only reported."""

import asyncio
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from core.errors import BrokerAway
from core.messaging.kafka.connection import client_options, on_broker, translated
from core.settings import KafkaSettings
from schemas.topics import TopicPlan

STEP_TIMEOUT_S = 30.0  # a broker that has just started may be electing leaders


async def ensure_topics(settings: KafkaSettings, plans: Sequence[TopicPlan]) -> list[str]:
    """Create the topics that are missing; return one line per difference from the plan.

    It is idempotent and may run several times at once. Existing topics are not altered: another
    partition count would break the order per key, other limits are the operator's decision.

    Raises:
        BrokerAway: Kafka cannot be reached, or refused to create a topic.
    """
    with translated("ensure_topics"):
        async with asyncio.timeout(STEP_TIMEOUT_S):
            client = AIOKafkaAdminClient(
                **client_options(settings, client_id="photo-archive-admin")
            )
            try:
                await client.start()
                existing = set(await client.list_topics())
                await _create(client, settings, plans, existing)
                return await _differences(
                    client, settings, [p for p in plans if on_broker(settings, p.name) in existing]
                )
            finally:
                await client.close()


async def _create(
    client: AIOKafkaAdminClient,
    settings: KafkaSettings,
    plans: Sequence[TopicPlan],
    existing: set[str],
) -> None:
    missing = [
        NewTopic(
            on_broker(settings, plan.name),
            plan.partitions,
            settings.replication_factor,
            topic_configs=_wanted(settings, plan),
        )
        for plan in plans
        if on_broker(settings, plan.name) not in existing
    ]
    if not missing:
        return
    response = await client.create_topics(missing)
    for topic, code, *message in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # another process was faster
            raise BrokerAway(f"create topic {topic}: {error.__name__}: {message}")


async def _differences(
    client: AIOKafkaAdminClient, settings: KafkaSettings, plans: Sequence[TopicPlan]
) -> list[str]:
    if not plans:
        return []
    names = [on_broker(settings, plan.name) for plan in plans]
    counts = {
        topic["topic"]: len(topic["partitions"]) for topic in await client.describe_topics(names)
    }
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await client.describe_configs(resources):
        for _code, _message, _kind, name, entries in response.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    warnings: list[str] = []
    for plan, name in zip(plans, names, strict=True):
        if counts.get(name) != plan.partitions:
            warnings.append(
                f"{name}: {counts.get(name)} partitions, the plan has {plan.partitions}"
            )
        warnings += [
            f"{name}: {key} is {found.get(name, {}).get(key)}, the plan has {value}"
            for key, value in _wanted(settings, plan).items()
            if found.get(name, {}).get(key) != value
        ]
    return warnings


def _wanted(settings: KafkaSettings, plan: TopicPlan) -> dict[str, str]:
    return dict(plan.config) | {"min.insync.replicas": str(settings.min_insync_replicas)}
