"""`migrate`, `reset`: the schema and the topics, and where a consumer group goes on."""

from enum import StrEnum
from typing import Annotated

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

app = command_group("Maintenance.")


class GroupName(StrEnum):
    """The consumer groups."""

    TAGGING = "tagging"
    TAGGING_BULK = "tagging-bulk"
    QUERY = "query"
    DELIVERY = "delivery"


@app.command(epilog=ending("photo-archive migrate", one="PostgreSQL or Kafka is away"))
def migrate() -> None:
    """Bring the schema, the first labels and the topics up to date; harmless to repeat."""
    from migrations.steps import STEPS, take

    run(take(STEPS))


@app.command(
    epilog=ending(
        "photo-archive reset tagging",
        "photo-archive reset query --to-end",
        one="PostgreSQL or Kafka is away",
    )
)
def reset(
    group: GroupName,
    to_end: Annotated[
        bool, typer.Option("--to-end", help="Skip everything that is there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a consumer group go on at the start of its topic, or at its end.

    For a topic that was made anew, a cluster that was replaced, or a log whose start passed the
    group. At the start nothing is applied twice: effects are keyed by image and by query.
    """
    run(_reset(group.value, to_end=to_end, as_json=as_json))


async def _reset(group: str, *, to_end: bool, as_json: bool) -> int:
    from core.messaging.kafka.log_ends import log_bounds
    from core.settings import DatabaseSettings, KafkaSettings, load
    from core.storage.pool import open_pool
    from core.storage.stream import progress
    from schemas.topics import GROUPS

    topic = GROUPS[group]
    bounds = await log_bounds(load(KafkaSettings), topic)
    offsets = {part: log.stable if to_end else log.start for part, log in bounds.items()}
    async with open_pool(load(DatabaseSettings)) as pool:
        await progress.reset(pool, group=group, topic=topic.name, offsets=offsets)
    if as_json:
        print_json({"group": group, "topic": topic.name, "offsets": offsets})
    else:
        place = "end" if to_end else "start"
        typer.echo(f"{group}: goes on at the {place} of its log: {offsets}")
    return 0
