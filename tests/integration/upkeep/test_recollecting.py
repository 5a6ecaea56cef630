"""After a promotion that forgot commits: what Kafka's log testifies is back, or listed."""

import uuid
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from consumers.query.answering import outgoing
from consumers.upkeep.recollecting import Recollecting
from core.messaging.cloudevents import encode
from core.messaging.kafka.producer import Publisher
from core.messaging.kafka.topics import ensure_topics
from core.offsets import Place
from core.settings import KafkaSettings
from core.storage.pool import Pool
from core.storage.stream import promotions
from core.telemetry.metrics import Metrics
from schemas.callback import AnswerType, CallbackRequested
from schemas.image import ImageArrived, image_id_of
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED, QUERIES_SUBMITTED, Topic, plan_topics

FORGETFUL = """
INSERT INTO promotions (system_id, timeline, missing_since) VALUES (1, 2, now())
"""

KEPT = """
INSERT INTO queries (query_id, owner, text, callback_url, options, status, answer, answered_at)
VALUES ($1, 'ann', 'a cat', 'https://a.example/', '{}', 'answered', '{}', now())
"""


@pytest.fixture
async def kafka(kafka_bootstrap: str) -> KafkaSettings:
    settings = KafkaSettings(
        bootstrap_servers=kafka_bootstrap, topic_prefix=f"recollect{uuid.uuid4().hex[:8]}."
    )
    await ensure_topics(settings, plan_topics())
    return settings


def record(topic: Topic, event: BaseModel, key: str) -> Record:
    return encode(topic, event, key=key, event_id=key, source="/tests", now=datetime.now(UTC))


def uploaded(content: bytes) -> tuple[uuid.UUID, Record]:
    uri = f"blob:{sha256(content).hexdigest()}"
    return image_id_of(uri), record(IMAGES_ARRIVED, ImageArrived(uri=uri), uuid.uuid4().hex)


def asked(owner: str | None) -> tuple[uuid.UUID, Record]:
    query_id = uuid.uuid4()
    event = QuerySubmitted(
        query_id=query_id, text="a cat", callback_url="https://a.example/", owner=owner
    )
    return query_id, record(QUERIES_SUBMITTED, event, str(query_id))


def answer_of(query_id: uuid.UUID) -> CallbackRequested:
    return CallbackRequested(
        query_id=query_id,
        type=AnswerType.NO_MATCH,
        url="https://a.example/",
        text="a cat",
        answered_at=datetime.now(UTC),
    )


async def publish(kafka: KafkaSettings, records: list[Record]) -> None:
    """Publish until all are acknowledged: topics that were made a moment ago have no leaders."""
    async with Publisher(kafka, Metrics(CollectorRegistry()), client_id="test") as publisher:
        while records:
            sent = await publisher.publish(records)
            pairs = zip(records, sent, strict=True)
            records = [record for record, one in pairs if not isinstance(one, Place)]


async def test_answers_are_back_and_only_what_is_gone_is_listed(
    pool: Pool, kafka: KafkaSettings
) -> None:
    there = b"its bytes are a row"
    await pool.execute(
        "INSERT INTO blobs (sha256, size_bytes, content) VALUES ($1, $2, $3)",
        sha256(there).digest(),
        len(there),
        there,
    )
    lost, of_lost = uploaded(b"its bytes went")
    _, of_there = uploaded(there)
    orphan, of_orphan = asked("ann")
    _, of_stranger = asked(None)  # a direct producer's: it never had a row
    answered, of_answered = asked("ann")
    kept, of_kept = asked("ann")  # not delivered yet, and its row was not lost
    await pool.execute(KEPT, kept)
    answers = [outgoing(answer_of(one), owner="ann") for one in (answered, kept)]
    await publish(
        kafka,
        [of_lost, of_there, of_orphan, of_stranger, of_answered, of_kept, *answers],
    )
    await pool.execute(FORGETFUL)

    recollecting = Recollecting(pool, kafka, keeps_blobs=True)
    async with pool.connection() as connection:
        assert await recollecting.is_needed(connection)
    await recollecting.step()

    (promotion,) = await promotions.forgetful(pool)
    assert promotion.settled_at is not None
    assert promotion.answers_kept == 1, "what is there was not brought back"
    assert {(one.kind, one.id) for one in promotion.forgotten} == {
        ("image", lost),
        ("query", orphan),
    }
    row = await pool.fetchrow("SELECT owner, status FROM queries WHERE query_id = $1", answered)
    assert row is not None
    assert (row["owner"], row["status"]) == ("ann", "answered")
    async with pool.connection() as connection:
        assert not await recollecting.is_needed(connection)
