"""Rate and cost of query events through Kafka, the query process, PostgreSQL and the outbox."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import psutil
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from benchmarks.harness.archives import SEED, Kind, load, rebuild
from benchmarks.harness.report import goal, percentile
from consumers.query.adapters import LabelLanguage, StoredAnswers
from consumers.query.answering import answer_all, outgoing
from consumers.query.archive import StoredArchive
from consumers.query.role import identified
from core.language.lemmatizer import Lemmatizer
from core.messaging.cloudevents import encode
from core.messaging.kafka.producer import Publisher
from core.messaging.role import Received
from core.settings import DatabaseSettings, KafkaSettings
from core.storage.pool import Pool, open_pool
from core.storage.stream import outbox
from core.telemetry.metrics import Metrics
from migrations import schema, topics
from schemas.query import QuerySubmitted
from schemas.record import Partition, Record
from schemas.token import Token
from schemas.topics import QUERIES_SUBMITTED
from standalone.environment import cache_directory
from standalone.kafka.broker import EmbeddedKafka
from standalone.postgres.server import EmbeddedPostgres

KIND, IMAGES = Kind(14, 4), 100_000
URL = "https://hooks.example/in"
RATE_PER_S, STEADY_S = 200, 5
WAITING, NEVER = 900, 100
AFTER_TIMEOUT_S = 5.0
BATCH = 64


def query(text: str, after: str | None = None) -> QuerySubmitted:
    """Return a query event."""
    options = {} if after is None else {"after": after}
    return QuerySubmitted.model_validate(
        {"query_id": uuid4(), "text": text, "callback_url": URL, "options": options}
    )


def texts(count: int, chance: random.Random) -> list[str]:
    """Return sentences that name one to three labels."""
    return [
        "show me " + ", ".join(f"label {n}" for n in chance.sample(range(1, 15), 1 + k % 3))
        for k in range(count)
    ]


def record_of(event: QuerySubmitted) -> Record:
    """Return the record that a producer would publish."""
    return encode(
        QUERIES_SUBMITTED,
        event,
        key=str(event.query_id),
        event_id=str(event.query_id),
        source="/bench",
        now=datetime.now(UTC),
    )


async def publish(publisher: Publisher, events: Sequence[QuerySubmitted]) -> None:
    """Publish all events, 500 at a time."""
    for start in range(0, len(events), 500):
        for sent in await publisher.publish([record_of(e) for e in events[start : start + 500]]):
            if isinstance(sent, Exception):
                raise sent


async def answered(pool: Pool, ids: Sequence[UUID] | None = None) -> int:
    """Return how many of the queries are answered."""
    if ids is None:
        return int(await pool.fetchval("SELECT count(*) FROM queries WHERE status = 'answered'"))
    return int(
        await pool.fetchval(
            "SELECT count(*) FROM queries WHERE status = 'answered' AND query_id = ANY($1::uuid[])",
            list(ids),
        )
    )


async def drain(pool: Pool, publisher: Publisher, events: int) -> None:
    """Publish everything, start the process, and time it from the first answer to the last."""
    chance = random.Random(SEED)
    await publish(publisher, [query(text) for text in texts(events, chance)])
    process = start_consumer()
    try:
        while not (first := await answered(pool)):
            await asyncio.sleep(0.02)
        began, used = time.monotonic(), cpu(process)
        while (done := await answered(pool)) < events:
            await asyncio.sleep(0.1)
        took, used = time.monotonic() - began, cpu(process) - used
        print(f"consumer: {(done - first) / took:,.0f} query events/s into outbox and rows,")
        print(f"  {used / (done - first) * 1000:.2f} ms CPU per query in the process, one process")
        await steady(pool, publisher)
    finally:
        process.terminate()
        process.wait(30)


def start_consumer() -> "subprocess.Popen[bytes]":
    """Start the query role as the supervisor does."""
    return subprocess.Popen(
        [sys.executable, "-m", "consumers", "query"],
        env=os.environ | {"TELEMETRY_LOG_LEVEL": "error"},
    )


def cpu(process: "subprocess.Popen[bytes]") -> float:
    """Return the CPU seconds of a process."""
    return sum(psutil.Process(process.pid).cpu_times()[:2])


async def steady(pool: Pool, publisher: Publisher) -> None:
    """Measure plain queries beside 1,000 plain ones, and beside 1,000 that wait for `after`."""
    alone = await latencies(pool, publisher, [query("label 1") for _ in range(WAITING + NEVER)])
    waiting = [query("label 1", Token("c", "images.arrived.v1", 0, n).encode()) for n in
               [*range(WAITING), *range(10**9, 10**9 + NEVER)]]  # fmt: skip
    tagging = asyncio.create_task(advance(pool))
    began = time.monotonic()
    beside = await latencies(pool, publisher, waiting)
    await tagging
    ids = [event.query_id for event in waiting if event.query_id is not None]
    while await answered(pool, ids) < len(ids):
        await asyncio.sleep(0.1)
    late = await pool.fetchval(
        "SELECT count(*) FROM queries WHERE query_id = ANY($1::uuid[]) "
        "AND answer->'error'->>'reason' = 'after_timeout'",
        ids,
    )
    for name, took in (
        (f"beside {len(ids)} more", alone),
        (f"beside {len(ids)} that wait", beside),
    ):
        p50, p99 = percentile(took, 0.5) * 1000, percentile(took, 0.99) * 1000
        print(f"plain queries at {RATE_PER_S}/s {name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    print(
        f"queries with `after`: {len(ids)} answered in {time.monotonic() - began:.1f} s, "
        f"{late} of them after_timeout ({NEVER} were never tagged)"
    )
    ratio = percentile(beside, 0.5) / percentile(alone, 0.5)
    goal(
        "plain p50 beside waiting queries ÷ beside as many others",
        ratio,
        1.5,
        unit="x",
        at_most=True,
    )


async def advance(pool: Pool) -> None:
    """Advance the tagging group's progress, as the tagging of uploads would."""
    for step in range(1, 10):
        await pool.execute(
            "INSERT INTO progress (grp, topic, part, next_offset) "
            "VALUES ('tagging', 'images.arrived.v1', 0, $1) "
            "ON CONFLICT (grp, topic, part) DO UPDATE SET next_offset = $1",
            step * WAITING // 9,
        )
        await asyncio.sleep(STEADY_S / 9)


async def latencies(
    pool: Pool, publisher: Publisher, beside: Sequence[QuerySubmitted]
) -> list[float]:
    """Return the seconds from publishing to the answer's transaction, at a steady rate."""
    chance = random.Random(SEED + 1)
    plain = [query(text) for text in texts(RATE_PER_S * STEADY_S, chance)]
    sent: dict[UUID, datetime] = {}
    share = len(beside) / len(plain)
    began = time.monotonic()
    tasks = []
    for number, event in enumerate(plain):
        await asyncio.sleep(max(0, began + number / RATE_PER_S - time.monotonic()))
        extra = beside[round(number * share) : round((number + 1) * share)]
        if event.query_id is not None:
            sent[event.query_id] = datetime.now(UTC)
        tasks.append(asyncio.create_task(publish(publisher, [event, *extra])))
    await asyncio.gather(*tasks)
    while await answered(pool, list(sent)) < len(sent):
        await asyncio.sleep(0.05)
    rows = await pool.fetch(
        "SELECT query_id, answered_at FROM queries WHERE query_id = ANY($1::uuid[])", list(sent)
    )
    return [(row["answered_at"] - sent[row["query_id"]]).total_seconds() for row in rows]


async def parts(pool: Pool) -> None:
    """Print how the time of a batch of 64 is divided, without Kafka."""
    language = LabelLanguage(pool, Lemmatizer(), 2000, 64)
    answers = StoredAnswers(pool, 30)
    archive, spent = StoredArchive(pool, 10), dict.fromkeys(("lemmas", "lookup", "rows"), 0.0)
    await language.refresh()
    chance, rounds = random.Random(SEED + 2), 40
    for number in range(rounds + 3):
        asked = [identified(_received(query(text))) for text in texts(BATCH, chance)]
        marks = [time.perf_counter()]
        for one in asked:
            await language.understand(one.text)
        marks.append(time.perf_counter())
        events = await answer_all(asked, language, archive)
        marks.append(time.perf_counter())
        async with pool.transaction() as tx:
            await answers.keep(tx, list(zip(asked, events, strict=True)))
            await outbox.add(tx, [outgoing(event, owner=None) for event in events])
        marks.append(time.perf_counter())
        if number >= 3:
            lemmas = marks[1] - marks[0]
            spent["lemmas"] += lemmas
            spent["lookup"] += marks[2] - marks[1] - lemmas  # answer_all lemmatizes again
            spent["rows"] += marks[3] - marks[2]
    for name, seconds in spent.items():
        print(f"  of a batch of {BATCH}: {name} {seconds / rounds * 1000:.1f} ms")


def _received(event: QuerySubmitted) -> Received[QuerySubmitted]:
    record = Record(QUERIES_SUBMITTED.name, None, (), b"")
    return Received(event, Partition(QUERIES_SUBMITTED.name, 0), 0, record, 0)


async def run(events: int) -> None:
    """Start servers, fill an archive of 100 k images, measure."""
    folder = Path(tempfile.mkdtemp(prefix="photo-archive-bench-"))
    folder.chmod(0o755)
    postgres = EmbeddedPostgres(folder, 21_600)
    kafka = EmbeddedKafka(folder, cache_directory(folder), 21_610)
    try:
        postgres.start()
        kafka.start()
        os.environ["DATABASE_URL"] = postgres.url
        os.environ.update(kafka.environment)
        os.environ["QUERY_AFTER_TIMEOUT_S"] = str(AFTER_TIMEOUT_S)
        await schema.upgrade()
        await topics.create()
        admin = f"{postgres.admin_url.rpartition('/')[0]}/{postgres.url.rpartition('/')[2]}"
        await load(admin, KIND, IMAGES if events > 5_000 else 10_000)
        metrics = Metrics(CollectorRegistry())
        async with (
            open_pool(DatabaseSettings(url=SecretStr(postgres.url))) as pool,
            Publisher(KafkaSettings(), metrics, client_id="bench") as publisher,
        ):
            await rebuild(pool)
            await parts(pool)
            await pool.execute("DELETE FROM queries")
            await pool.execute("DELETE FROM outbox")
            await drain(pool, publisher, events)
    finally:
        kafka.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
