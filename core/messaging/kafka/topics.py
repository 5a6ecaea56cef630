"""Topics created by an explicit, idempotent step; of existing ones only what must be is altered."""

import asyncio
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from core.errors import BrokerAway
from core.messaging.kafka.altering import alter
from core.messaging.kafka.connection import client_options, on_broker, translated
from core.settings import KafkaSettings
from schemas.topics import TopicPlan

STEP_TIMEOUT_S = 30.0  # a broker that has just started may be electing leaders
#: Settings without which a promise does not hold. By the producer's clock a record that was made
#: eight days ago, or by a machine with a wrong date, is deleted minutes after it was acknowledged.
MUST = frozenset({"message.timestamp.type"})


async def ensure_topics(settings: KafkaSettings, plans: Sequence[TopicPlan]) -> list[str]:
    """Create the topics that are missing; return one line per difference from the plan.

    It is idempotent and may run several times at once. Of an existing topic only the settings in
    `MUST` are altered: another partition count would break the order per key, other limits are the
    operator's decision.

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
    lines = [
        f"{name}: {counts.get(name)} partitions, the plan has {plan.partitions}"
        for plan, name in zip(plans, names, strict=True)
        if counts.get(name) != plan.partitions
    ]
    others = [
        (name, key, found.get(name, {}).get(key), value)
        for plan, name in zip(plans, names, strict=True)
        for key, value in _wanted(settings, plan).items()
        if found.get(name, {}).get(key) != value
    ]
    lines += [
        f"{name}: {key} is {present}, the plan has {value}"
        for name, key, present, value in others
        if key not in MUST
    ]
    musts: dict[str, dict[str, str]] = {}
    for name, key, _, value in others:
        if key in MUST:
            musts.setdefault(name, {})[key] = value
    return lines + await _alter(client, musts)


async def _alter(client: AIOKafkaAdminClient, musts: dict[str, dict[str, str]]) -> list[str]:
    """Alter what must be; return one line per topic, whether it was done or refused."""
    refused = await alter(client._client, musts)  # noqa: SLF001  # the admin client has its own
    lines = []
    for name, settings in musts.items():
        wanted = ", ".join(f"{key}={value}" for key, value in settings.items())
        why = refused.get(name)
        lines.append(
            f"{name}: {wanted} was set"
            if why is None
            else f"{name}: {wanted} is needed and was refused ({why}): let an administrator set it"
        )
    return lines


def _wanted(settings: KafkaSettings, plan: TopicPlan) -> dict[str, str]:
    return dict(plan.config) | {"min.insync.replicas": str(settings.min_insync_replicas)}
