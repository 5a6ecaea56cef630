"""The examples of docs/producers.md, run against a real broker, and what the page says."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from consumers.tagging.arrivals import decode_arrival
from core.errors import ImageMissing
from core.messaging.cloudevents import decode
from core.messaging.kafka.topics import ensure_topics
from core.settings import KafkaSettings
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.strict import NAMESPACE
from schemas.topics import IMAGES_ARRIVED, QUERIES_SUBMITTED, plan_topics
from tests.servers import kafka_login

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "producers.md").read_text()
EXAMPLES = ("announce_photo.py", "send_photo.py", "ask.py")


@pytest.fixture
async def settings(kafka_bootstrap: str, topics_prefix: str) -> KafkaSettings:
    made = KafkaSettings(bootstrap_servers=kafka_bootstrap, topic_prefix=topics_prefix)
    await ensure_topics(made, plan_topics())
    return made


async def run_example(name: str, settings: KafkaSettings, *arguments: str) -> Record:
    """Run an example on this test's own topic; return the one record that it wrote."""
    code = (ROOT / "examples" / name).read_text()
    topic = QUERIES_SUBMITTED.name if QUERIES_SUBMITTED.name in code else IMAGES_ARRIVED.name
    code = code.replace(topic, settings.topic_prefix + topic)
    arguments = (settings.bootstrap_servers, *arguments)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        stderr=PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT / "examples")},  # as if run from its file
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    consumer = AIOKafkaConsumer(
        settings.topic_prefix + topic,
        bootstrap_servers=settings.bootstrap_servers,
        **kafka_login(settings),
        auto_offset_reset="earliest",
    )
    async with consumer, asyncio.timeout(20):
        read = await consumer.getone()
    return Record(topic, read.key, tuple(read.headers), read.value)


async def test_the_first_example_is_an_image_by_its_address(settings: KafkaSettings) -> None:
    arrival = decode_arrival(await run_example("announce_photo.py", settings))

    assert arrival.event.uri == "https://photos.example/cat.jpg"
    assert (arrival.event.labels, arrival.event.top_k) == (("cat", "dog"), 2)


async def test_the_second_example_is_the_image_itself(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8photo")

    arrival = decode_arrival(
        await run_example("send_photo.py", settings, str(tmp_path / "photo.jpg"))
    )

    assert arrival.content == b"\xff\xd8photo"
    assert (arrival.event.path, arrival.event.top_k) == ("phone/0001.jpg", 3)


async def test_the_third_example_is_a_query(settings: KafkaSettings) -> None:
    query = decode(QUERIES_SUBMITTED, await run_example("ask.py", settings), QuerySubmitted)

    assert (query.text, query.callback_url) == ("a dog on the beach", "https://me.example/hook")


def test_the_examples_are_as_short_as_promised() -> None:
    """Ten lines of code: blank ones are not counted."""
    codes = [(ROOT / "examples" / name).read_text() for name in EXAMPLES]
    lengths = [sum(bool(line.strip()) for line in code.splitlines()) for code in codes]

    assert max(lengths) <= 10, lengths


def test_the_constants_in_the_text_are_those_of_the_code() -> None:
    assert str(NAMESPACE) in DOCUMENT
    for topic in (IMAGES_ARRIVED, QUERIES_SUBMITTED):
        assert topic.name in DOCUMENT
        assert topic.event_type in DOCUMENT
    assert ImageMissing.default_reason in DOCUMENT
