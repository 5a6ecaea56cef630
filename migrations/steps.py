"""The steps of a set-up, in their order. Each may be repeated, also by several at once."""

from collections.abc import Sequence

from migrations import labels, schema, topics

STEPS = ("schema", "labels", "topics")


async def take(steps: Sequence[str]) -> int:
    """Take the steps that are named; return the exit code.

    Raises:
        ConfigurationError: a setting cannot be worked with.
        PhotoTaggerError: PostgreSQL or Kafka is away.
    """
    if "schema" in steps:
        await schema.upgrade()
    if "labels" in steps:
        await labels.define()
    if "topics" in steps:
        await topics.create()
    print(f"migrations: {', '.join(steps)}: up to date")  # noqa: T201
    return 0
