"""`python -m producers` as an operator runs it: real Kafka, real PostgreSQL, real signals."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from core.messaging.kafka.topics import ensure_topics
from core.settings import KafkaSettings
from core.storage.archive import jobs
from core.storage.archive.jobs import DirectoryOptions
from core.storage.pool import Pool
from schemas.image import ImageArrived
from schemas.query import QuerySubmitted
from schemas.topics import IMAGES_ARRIVED, QUERIES_SUBMITTED, Topic, plan_topics

REPOSITORY = Path(__file__).parents[3]
LIMIT_S = 60


@dataclass
class Site:
    """An archive's surroundings: its servers, its root, its command line."""

    bootstrap: str
    prefix: str
    database_url: str
    pool: Pool
    root: Path

    async def start(self, *arguments: str, **variables: str) -> Process:
        environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "KAFKA_TOPIC_PREFIX": self.prefix,
            "DATABASE_URL": self.database_url,
            "ARCHIVE_ROOTS": f"main={self.root}",
            **variables,
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "producers", *arguments,
            cwd=REPOSITORY, env=environment, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip

    async def run(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """Exit code, output and errors of a command that ends by itself."""
        process = await self.start(*arguments, **variables)
        output, errors = await asyncio.wait_for(process.communicate(), LIMIT_S)
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    async def values(self, topic: Topic) -> list[bytes]:
        """All values that are on a topic now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            name = self.prefix + topic.name
            places = [TopicPartition(name, number) for number in range(topic.partitions)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            values: list[bytes] = []
            while len(values) < sum(ends.values()):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    values += [record.value for record in records]
            return values
        finally:
            await consumer.stop()

    async def announced(self) -> Counter[str]:
        values = await self.values(IMAGES_ARRIVED)
        return Counter(ImageArrived.model_validate_json(value).uri for value in values)

    def write(self, *names: str) -> None:
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())


@pytest.fixture
async def site(
    kafka_bootstrap: str, topics_prefix: str, database_url: str, pool: Pool, tmp_path: Path
) -> Site:
    settings = KafkaSettings(bootstrap_servers=kafka_bootstrap, topic_prefix=topics_prefix)
    await ensure_topics(settings, plan_topics())
    (tmp_path / "root").mkdir()
    return Site(kafka_bootstrap, topics_prefix, database_url, pool, tmp_path / "root")


def uris(*names: str) -> Counter[str]:
    return Counter(f"file:main/{name}" for name in names)


async def test_a_directory_is_announced_with_a_summary_and_again_by_a_second_run(
    site: Site,
) -> None:
    site.write("a/1.jpg", "a/2.png", "a/film.mov", "b.jpg")

    code, _, errors = await site.run("images", str(site.root / "a"), "--no-wait", "--labels", "x,y")

    assert code == 0, errors
    assert "2 published" in errors
    assert "1 video" in errors
    assert await site.announced() == uris("a/1.jpg", "a/2.png")
    [event, _] = map(ImageArrived.model_validate_json, await site.values(IMAGES_ARRIVED))
    assert event.labels == ("x", "y")
    await site.run("images", str(site.root / "a"), "--no-wait")
    assert await site.announced() == uris("a/1.jpg", "a/2.png") + uris("a/1.jpg", "a/2.png")


async def tag_like_a_consumer(site: Site, expected: int) -> None:
    """Write what the tagging consumer would: one image fails."""
    while len(values := await site.values(IMAGES_ARRIVED)) < expected:
        await asyncio.sleep(0.1)
    for event in map(ImageArrived.model_validate_json, values):
        is_bad = "bad" in event.uri
        await site.pool.execute(
            "INSERT INTO images (image_id, uri, path, job_id, status, reason)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            event.image_id, event.uri, event.image_path, event.job_id,
            "failed" if is_bad else "tagged", "image_unreadable" if is_bad else None,
        )  # fmt: skip


async def test_images_are_followed_until_tagged_and_failures_named_by_reason(site: Site) -> None:
    site.write("1.jpg", "2.jpg", "bad.jpg")
    tagging = asyncio.create_task(tag_like_a_consumer(site, 3))

    code, _, errors = await site.run("images", str(site.root))

    await tagging
    assert code == 1
    assert "3 published, 2 tagged, 1 failed to be tagged" in errors
    assert "image_unreadable (1)" in errors
    assert "main/bad.jpg" in errors


async def test_a_directory_under_no_root_is_refused_with_the_way_out(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").write_bytes(b"x")

    code, _, errors = await site.run("images", str(tmp_path / "elsewhere"))
    assert code == 2
    assert "ARCHIVE_ROOTS" in errors
    assert "--root NAME=DIR" in errors

    code, _, errors = await site.run(
        "images", str(tmp_path / "elsewhere"), "--root", f"new={tmp_path / 'elsewhere'}",
        "--no-wait",
    )  # fmt: skip
    assert code == 0, errors
    assert await site.announced() == Counter(["file:new/1.jpg"])


async def test_wrong_options_and_settings_end_with_2_and_name_what_is_wrong(site: Site) -> None:
    site.write("1.jpg")
    for arguments, told in (
        (["images", str(site.root), "--labels", ""], "--labels"),
        (["images", str(site.root), "--extensions", "xyz"], "--extensions"),
        (["images", str(site.root / "nothing")], "no directory"),
        (["replay", "nothing.v1"], "images.arrived.v1"),
        (["retag"], "--all"),
    ):
        code, _, errors = await site.run(*arguments)
        assert (code, told in errors) == (2, True), (arguments, errors)
    code, _, errors = await site.run("jobs", "--until-empty", KAFKA_SESSION_TIMEOUT_MS="never")
    assert (code, "KAFKA_SESSION_TIMEOUT_MS" in errors) == (2, True), errors


async def test_queries_of_a_file_are_submitted_and_bad_lines_told(
    site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "queries.txt"
    file.write_text('a dog on the beach\n{"text": "x", "options": {"top_n": 0}}\nкот\n')

    code, output, errors = await site.run(
        "queries", str(file), "--callback-url", "https://me.example/hook"
    )

    assert code == 1
    assert "line 2:" in errors
    events = [
        QuerySubmitted.model_validate_json(value) for value in await site.values(QUERIES_SUBMITTED)
    ]
    assert {event.text for event in events} == {"a dog on the beach", "кот"}
    assert {str(event.query_id) for event in events} == {
        line.split("\t")[1] for line in output.splitlines()
    }


async def test_a_job_survives_the_kill_of_its_runner(site: Site) -> None:
    names = [f"{i % 10}/{i:05}.jpg" for i in range(6000)]
    site.write(*names)
    job_id = uuid4()
    await jobs.create(
        site.pool, job_id=job_id, root="main", directory="", options=DirectoryOptions()
    )
    process = await site.start("jobs")
    while True:
        job = await jobs.get(site.pool, job_id)
        assert job is not None
        if job.announced:
            break
        await asyncio.sleep(0.005)
    process.kill()
    await process.communicate()
    # The lease of the dead runner would run out within a minute.
    await site.pool.execute("UPDATE jobs SET lease_until = now() WHERE state = 'running'")

    code, _, errors = await site.run("jobs", "--until-empty")

    assert code == 0, errors
    done = await jobs.get(site.pool, job_id)
    assert done is not None
    assert (done.state, done.announced) == ("done", 6000)
    announced = await site.announced()
    assert set(announced) == set(uris(*names))
    assert announced.total() <= 6500  # the batch that was in hand


async def test_a_watch_killed_and_started_again_announces_the_rest(site: Site) -> None:
    names = [f"d/{i:04}.jpg" for i in range(1000)]
    site.write(*names)
    arguments = ("watch", str(site.root), "--settle", "0.2", "--poll", "1")
    first = await site.start(*arguments)
    await _until_ledger_has(site, 200)
    first.kill()
    await first.communicate()
    site.write("d/new.jpg")

    second = await site.start(*arguments)
    await _until_ledger_has(site, 1001)
    second.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(second.communicate(), LIMIT_S)

    assert second.returncode == 0, errors.decode()
    announced = await site.announced()
    assert set(announced) == set(uris(*names, "d/new.jpg"))
    assert announced.total() <= 1001 + 200  # the batch that was in hand


async def _until_ledger_has(site: Site, wanted: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while await site.pool.fetchval("SELECT count(*) FROM watched_files") < wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
