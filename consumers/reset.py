"""python -m consumers reset GROUP: where a group goes on, by the operator's explicit wish.

For a topic that was made anew, a cluster that was replaced, or a log whose start passed a group.
"""

import asyncio

from core.messaging.kafka.consumer import log_bounds
from core.settings import DatabaseSettings, KafkaSettings, load
from core.storage.pool import open_pool
from core.storage.stream import progress
from schemas.topics import GROUPS


async def reset(group: str, *, to_end: bool) -> dict[int, int]:
    """Let a group go on at its log's start, or at its end; give the offsets by partition.

    At the start nothing is applied twice: effects are keyed by image and by query.

    Raises:
        BrokerAway: Kafka cannot be reached.
        DatabaseAway: PostgreSQL cannot be reached.
    """
    topic = GROUPS[group]
    bounds = await log_bounds(load(KafkaSettings), topic)
    offsets = {part: end if to_end else start for part, (start, end) in bounds.items()}
    async with open_pool(load(DatabaseSettings)) as pool:
        await progress.reset(pool, group=group, topic=topic.name, offsets=offsets)
    return offsets


def run(group: str, *, to_end: bool) -> int:
    """Reset and say so; the exit code."""
    offsets = asyncio.run(reset(group, to_end=to_end))
    place = "end" if to_end else "start"
    print(f"{group}: goes on at the {place} of its log, {len(offsets)} partitions: {offsets}")  # noqa: T201
    return 0
