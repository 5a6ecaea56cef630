"""The room that a photo, a query and their events take: in PostgreSQL and in Kafka.

    python -m benchmarks.sizes [--quick] [--photos 100000] [--queries 10000]

Photos are written as a tagging process does it (14 labels, 4 tags, embeddings of 512 dimensions,
paths of 30 characters; no bytes, no thumbnails). Queries are answered, put on the schedule, claimed
and recorded as delivered by the functions that the roles use. Then VACUUM, and bytes are divided by
numbers. Their events are packed as the producer packs them. These figures depend neither on the
machine nor on its load; `docs/scaling.md` stands on them.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from benchmarks.harness.archives import Kind
from benchmarks.harness.report import print_machine
from benchmarks.harness.webhooks import database
from benchmarks.harness.writing import footprint
from benchmarks.harness.writing.footprint import TableSize
from benchmarks.harness.writing.photos import BATCH, Share
from benchmarks.harness.writing.together import define_labels
from benchmarks.harness.writing.writer import Acknowledging, Told, open_writer
from consumers.delivery.adapters import schedule
from core.messaging.cloudevents import encode
from core.messaging.ports import Sent
from core.settings import DatabaseSettings
from core.storage.connecting import TimeLimits
from core.storage.delivery import deliveries, lanes
from core.storage.delivery.deliveries import Answered, Attempt, Settled
from core.storage.pool import Pool, open_pool
from core.storage.queries import queries
from schemas.callback import AnswerType, CallbackRequested, MatchedTag, callback_id_of
from schemas.image import image_id_of
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.topics import CALLBACKS_REQUESTED, QUERIES_SUBMITTED

KIND = Kind(14, 4)  # the default labels and top-k
TEXT = "show me a cat on the beach"
URL = "https://hooks.example/answers"
#: What goes by itself within minutes: folded, or told to those who watch.
PASSING = frozenset({"changes", "total_changes", "outbox", "alembic_version"})
LARGEST = 12  # indexes shown
LARGEST_INDEXES = "largest indexes, bytes of one photo:"
PACKED = 1_920  # events of each topic: whole batches of either size
FEW = 5  # a transaction's 64 events go to 12 partitions


@dataclass(frozen=True, slots=True)
class Measured:
    """What one kind of thing takes: tables before and after so many of it came."""

    what: str
    number: int
    before: Mapping[str, TableSize]
    after: Mapping[str, TableSize]

    def lines(self) -> list[tuple[str, float, float, float]]:
        """Return (table, rows, bytes of rows, bytes of indexes) for one, the largest first."""
        lines = []
        for name, size in self.after.items():
            was = self.before.get(name, TableSize(name, 0, 0, 0))
            rows, heap = size.rows - was.rows, size.heap - was.heap
            if name not in PASSING and heap > 0:
                one = self.number
                lines.append((name, rows / one, heap / one, (size.indexes - was.indexes) / one))
        return sorted(lines, key=lambda line: -line[2] - line[3])

    def total(self) -> float:
        """Return all bytes of one."""
        return sum(heap + index for _, _, heap, index in self.lines())


@dataclass(slots=True)
class Events:
    """Some events of each topic, to be packed."""

    by_topic: dict[str, list[Record]] = field(default_factory=dict)

    def note(self, records: Sequence[Record]) -> None:
        """Keep records, of each topic the first ones."""
        for record in records:
            kept = self.by_topic.setdefault(record.topic, [])
            if len(kept) < PACKED:
                kept.append(record)


@dataclass(slots=True)
class NotingPublisher(Acknowledging):
    """A publisher that keeps some of the events that went out."""

    events: Events = field(default_factory=Events)

    async def publish(self, records: Sequence[Record]) -> list[Sent]:
        """Return a place for each record."""
        self.events.note(records)
        return await Acknowledging.publish(self, records)


async def write_photos(url: str, photos: int, events: Events) -> None:
    """Write photos as one tagging process."""
    told = Told(url, Share(0, 1, photos // BATCH), KIND)
    async with open_writer(told, NotingPublisher(events=events)) as (writer, batches):
        for batch in batches:
            events.note([item.received.record for item in batch.items])
            await writer.write(batch)


def make_answers(count: int) -> list[tuple[QuerySubmitted, CallbackRequested]]:
    """Return queries with the answers that they get."""
    now = datetime.now(UTC)
    tags = (MatchedTag(tag="cat", words=("cat",), score=0.912345),
            MatchedTag(tag="beach", words=("beach",), score=0.051234))  # fmt: skip
    made = []
    for number in range(count):
        query = QuerySubmitted.model_validate(
            {"query_id": uuid4(), "text": TEXT, "callback_url": URL}
        )
        made.append((query, CallbackRequested(
            query_id=query.query_id or uuid4(), type=AnswerType.COMPLETED, url=URL, text=TEXT,
            image_id=image_id_of(f"file:photos/{number}.jpg"), score=0.963579,
            lemmas=("show", "me", "a", "cat", "on", "the", "beach"), matched=tags,
            label_version=1, answered_at=now,
        )))  # fmt: skip
    return made


def records_of(query: QuerySubmitted, answer: CallbackRequested) -> tuple[Record, Record]:
    """Return the events of a query and of its answer."""
    now, key = answer.answered_at, str(query.query_id)
    return (
        encode(QUERIES_SUBMITTED, query, key=key, event_id=key, source="/ingress", now=now),
        encode(CALLBACKS_REQUESTED, answer, key="hooks.example", event_id=str(uuid4()),
               source="/consumers/query", now=now),
    )  # fmt: skip


async def answer_queries(pool: Pool, count: int, events: Events) -> None:
    """Answer queries, and put their webhooks on the schedule."""
    answers = make_answers(count)
    for start in range(0, count, BATCH):
        portion = answers[start : start + BATCH]
        for one in portion:
            events.note(records_of(*one))
        async with pool.transaction() as tx:
            await queries.answer(tx, portion)
        async with pool.transaction() as tx:
            await schedule(tx, {callback_id_of(event.query_id): event for _, event in portion})


async def deliver(pool: Pool) -> None:
    """Record all webhooks that are due as delivered at the first attempt."""
    headers = [("content-type", "application/json"), ("date", "Mon, 30 Nov 2026 12:00:00 GMT")]
    attempt = Attempt(
        datetime.now(UTC), 34, status=200, times_ms={"dns": 1, "connect": 4, "wait": 25},
        answered=Answered(headers, b'{"ok": true}', body_is_cut=False),
    )  # fmt: skip
    room = lanes.Room(new_target=500, by_tier=(500, 500, 500), total=500)
    while True:
        async with pool.transaction() as tx:
            leased = await lanes.claim(tx, room, token=uuid4(), lease_s=60)
            if not leased:
                return
            await deliveries.settle(tx, [(one, attempt, Settled("delivered")) for one in leased])


async def measure(
    url: str, photos: int, count: int, events: Events
) -> tuple[list[Measured], list[str]]:
    """Write everything; return what each takes, and lines about log and indexes."""
    settings = DatabaseSettings(url=SecretStr(url), command_timeout_s=600)
    photos = max(1, photos // BATCH) * BATCH
    await define_labels(url, KIND)
    async with open_pool(settings, limits=TimeLimits(transaction_s=600)) as pool:
        seen = [await footprint.tables(pool)]
        log = await footprint.log_end(pool)
        await write_photos(url, photos, events)
        log = await footprint.log_end(pool) - log
        seen.append(await footprint.tables(pool))
        lines = [f"write-ahead log: {log / photos:,.0f} bytes of one photo", LARGEST_INDEXES]
        lines += [
            f"  {name} {size / photos:.0f}" for name, size in await footprint.indexes(pool, LARGEST)
        ]
        await answer_queries(pool, count, events)
        seen.append(await footprint.tables(pool))
        await deliver(pool)
        seen.append(await footprint.tables(pool))
    found = [
        Measured("photo", photos, seen[0], seen[1]),
        Measured("query, its webhook due", count, seen[1], seen[2]),
        Measured("query, its webhook delivered", count, seen[1], seen[3]),
    ]
    return found, lines


def print_tables(found: list[Measured], lines: list[str]) -> None:
    """Print a line per table."""
    table = Table(title="PostgreSQL, bytes of one")
    for column in ("of one", "table", "rows", "bytes of rows", "bytes of indexes"):
        table.add_column(column)
    for one in found:
        for name, rows, heap, index in one.lines():
            if heap + index >= 0.5:
                table.add_row(one.what, name, f"{rows:.2f}", f"{heap:.0f}", f"{index:.0f}")
        table.add_row(one.what, "together", "", "", f"{one.total():.0f}", end_section=True)
    Console(width=110).print(table)
    print(*lines, sep="\n")


def print_records(events: Events) -> None:
    """Print bytes per record of each topic, packed as under load and as where few come."""
    for topic, records in sorted(events.by_topic.items()):
        few, many = (footprint.record_bytes(records, number) for number in (FEW, BATCH))
        print(f"Kafka {topic}: {few:.0f} bytes a record in batches of {FEW}, {many:.0f} of {BATCH}")


def main() -> None:
    """Parse, measure, print. The exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--photos", type=int, default=0)
    parser.add_argument("--queries", type=int, default=0)
    options = parser.parse_args()
    print_machine()
    photos = options.photos or (2_000 if options.quick else 100_000)
    count = options.queries or (1_000 if options.quick else 10_000)
    events = Events()
    with database() as url:
        found, lines = asyncio.run(measure(url, photos, count, events))
    print_tables(found, lines)
    print_records(events)


if __name__ == "__main__":
    main()
