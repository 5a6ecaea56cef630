"""The file of records that nobody had processed when a backup was made: a line of JSON each."""

import base64
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from core.errors import ConfigurationError
from core.messaging.kafka import reading
from core.settings import KafkaSettings
from core.storage.stream.outbox import storable
from schemas.record import Partition, Record
from schemas.topics import GROUPS

_LEVEL = 1  # images are compressed already
Stretches = dict[Partition, tuple[int, int]]
_GROUP_OF = {topic.name: group for group, topic in GROUPS.items()}


class Unread(NamedTuple):
    """A record that a group had not processed."""

    group: str
    record: Record


async def unread(kafka: KafkaSettings, stretches: Stretches) -> AsyncIterator[Unread]:
    """Yield the records of these stretches of the log.

    Raises:
        BrokerAway: Kafka is away.
    """
    async for partition, _offset, record in reading.read(kafka, stretches):
        yield Unread(_GROUP_OF[partition.topic], record)


async def write_records(path: Path, found: AsyncIterator[Unread]) -> dict[str, int]:
    """Write records into a file; return how many of each group."""
    counts = dict.fromkeys(GROUPS, 0)
    with gzip.open(path, "wt", compresslevel=_LEVEL, encoding="utf-8") as file:
        async for one in found:
            file.write(_line(one.record) + "\n")
            counts[one.group] += 1
    return counts


def read_records(path: Path) -> Iterator[Unread]:
    """Yield the records of a file, in their order.

    Raises:
        ConfigurationError: a line is damaged.
    """
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):  # noqa: B007  # for the message
                record = _record(line)
                yield Unread(_GROUP_OF[record.topic], record)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path}: cannot be read behind line {number} ({type(error).__name__}): damaged"
        ) from error


def _line(record: Record) -> str:
    return json.dumps(
        {
            "topic": record.topic,
            "key": None if record.key is None else _text(record.key),
            "headers": [[storable(name), _text(value)] for name, value in record.headers],
            "value": _text(record.value),
        }
    )


def _record(line: str) -> Record:
    told = json.loads(line)
    return Record(
        told["topic"],
        None if told["key"] is None else base64.b64decode(told["key"]),
        tuple((name, base64.b64decode(value)) for name, value in told["headers"]),
        base64.b64decode(told["value"]),
    )


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
