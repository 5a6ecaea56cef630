"""Read your writes: 1,000 queries with `after`, a tenth of them on photos that never get tagged."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from consumers.query.adapters import StoredAnswers
from consumers.query.role import QueryRole
from consumers.query.waiting import WaitingRoom
from core.messaging.role import Received
from core.offsets import OutboxRow, Place
from core.storage.archive import parked_images
from core.storage.archive.parked_images import ParkedImage
from core.storage.pool import Pool
from core.tags import Made, Slowness
from core.transaction import Transaction
from schemas.callback import AnswerType, CallbackRequested
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.token import Token
from schemas.topics import Lane
from tests.integration.query.asking import answers_to, received, tag
from tests.integration.query.conftest import AFTER_TIMEOUT_S
from tests.integration.relevance.archive import image_id

TOPIC = "images.arrived.v1"
TAGGED, NEVER, PLAIN = 900, 100, 300
BATCH = 60
STEPS = 9
ANSWERED_S = 60.0
DEADLINES = """
SELECT min(extract(epoch FROM deadline - now()))::float8,
       max(extract(epoch FROM deadline - now()))::float8
FROM parked_queries
"""


@dataclass
class Sent:
    """An outbox that keeps what leaves."""

    answers: dict[UUID, CallbackRequested] = field(default_factory=dict)

    def note(self, events: Sequence[CallbackRequested]) -> None:
        for event in events:
            assert event.query_id not in self.answers  # each is answered once
            self.answers[event.query_id] = event

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        return [OutboxRow(0, record) for record in records]

    async def publish(self, rows: Sequence[OutboxRow]) -> None:
        self.note([CallbackRequested.model_validate_json(row.record.value) for row in rows])


async def move_tagging(pool: Pool, next_offset: int, lane: Lane = Lane.FRESH) -> None:
    await pool.execute(
        "INSERT INTO progress (grp, topic, part, next_offset) VALUES ($3, $1, 0, $2) "
        "ON CONFLICT (grp, topic, part) DO UPDATE SET next_offset = $2",
        lane.topic.name,
        next_offset,
        lane.group,
    )


def id_of(one: Received[QuerySubmitted]) -> UUID:
    assert one.event.query_id is not None
    return one.event.query_id


def token(offset: int) -> str:
    return Token("cluster", TOPIC, 0, offset).encode()


async def answered(sent: Sent, count: int) -> None:
    """Wait until so many queries have their answers."""
    async with asyncio.timeout(ANSWERED_S):
        while len(sent.answers) < count:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("lane", Lane)
async def test_an_upload_of_either_lane_is_waited_for(
    answers: StoredAnswers, pool: Pool, lane: Lane
) -> None:
    place = Token("", lane.topic.name, 0, 5)

    assert await answers.must_wait([place]) == [True]
    for other in Lane:
        await move_tagging(pool, 5, other)
    assert await answers.must_wait([place]) == [True]
    await move_tagging(pool, 6, lane)
    assert await answers.must_wait([place]) == [False]


async def test_a_thousand_queries_wait_for_their_uploads_and_hold_up_nobody(
    role: QueryRole, pool: Pool, answers: StoredAnswers
) -> None:
    await tag(pool, 1, cat=0.3)
    await move_tagging(pool, 0)
    sent, stop = Sent(), asyncio.Event()
    room = WaitingRoom(pool.transaction, role.labels, role.images, answers, sent)
    waiting = [received("cats", after=token(n)) for n in range(TAGGED)]
    never = [received("cats", after=token(10**6 + n)) for n in range(NEVER)]
    plain = [received("cats") for _ in range(PLAIN)]
    mixed = [*waiting, *never, *plain]
    mixed.sort(key=lambda one: hash(one.event.query_id))

    async with asyncio.TaskGroup() as group:
        group.create_task(room.run(stop))
        for start in range(0, len(mixed), BATCH):
            batch = mixed[start : start + BATCH]
            events = await answers_to(role, pool, batch)
            sent.note(events)
            # The batch ends with every query that need not wait answered: its partition goes on.
            free = {one.event.query_id for one in batch if one.event.options.after is None}
            assert free <= {event.query_id for event in events}
        for step in range(1, STEPS + 1):
            await tag(pool, 10 + step, cat=0.3 + step / 100)
            await move_tagging(pool, step * TAGGED // STEPS)
        await answered(sent, len(mixed) - NEVER)
        assert not {id_of(one) for one in never} & set(sent.answers)
        ((first, last),) = await pool.fetch(DEADLINES)
        assert AFTER_TIMEOUT_S - ANSWERED_S < first <= last <= AFTER_TIMEOUT_S
        await pool.execute("UPDATE parked_queries SET deadline = now()")
        await answered(sent, len(mixed))
        stop.set()

    for number, one in enumerate(waiting):
        answer = sent.answers[id_of(one)]
        step = number // (TAGGED // STEPS) + 1
        assert answer.type is AnswerType.COMPLETED
        assert answer.score >= 0.3 + step / 100  # it sees its own upload's tags
    for one in never:
        answer = sent.answers[id_of(one)]
        assert answer.error is not None
        assert answer.error.reason == "after_timeout"
    assert await pool.fetchval("SELECT count(*) FROM parked_queries") == 0
    assert await pool.fetchval("SELECT count(*) FROM queries WHERE status = 'answered'") == len(
        mixed
    )


async def test_an_upload_tagged_in_time_is_an_answer_even_if_nobody_looked_until_later(
    role: QueryRole, pool: Pool, answers: StoredAnswers
) -> None:
    await tag(pool, 1, cat=0.5)
    await move_tagging(pool, 0)
    asked = received("cats", after=token(0))
    assert await answers_to(role, pool, [asked]) == []
    await move_tagging(pool, 1)
    await pool.execute("UPDATE parked_queries SET deadline = now() - interval '1 hour'")
    sent = Sent()
    room = WaitingRoom(pool.transaction, role.labels, role.images, answers, sent)

    assert await room.serve() == 1

    answer = sent.answers[id_of(asked)]
    assert answer.image_id == image_id(1)


async def test_a_query_waits_for_an_upload_that_tagging_has_set_aside(
    role: QueryRole, pool: Pool, answers: StoredAnswers
) -> None:
    await tag(pool, 1, cat=0.3)
    await tag(pool, 2, cat=0.1)
    slow = ParkedImage(
        image_id(2), "u2", "p2", None, None, None, Slowness.PICTURE,
        Made(datetime.now(UTC), is_fresh=True), Place(TOPIC, 0, 5), Record(TOPIC, None, (), b""), 0,
    )  # fmt: skip
    async with pool.transaction() as tx:
        await parked_images.park(tx, [slow], [(slow.image_id, slow.place)])
    await move_tagging(pool, 6)
    sent, asked = Sent(), received("cats", after=token(5))
    room = WaitingRoom(pool.transaction, role.labels, role.images, answers, sent)

    assert await answers_to(role, pool, [asked]) == []
    assert await room.serve() == 0
    await tag(pool, 2, cat=0.9)
    await pool.execute("DELETE FROM parked_images")
    assert await room.serve() == 1

    assert sent.answers[id_of(asked)].image_id == image_id(2)


async def test_nor_does_it_wait_for_ever(
    role: QueryRole, pool: Pool, answers: StoredAnswers
) -> None:
    await tag(pool, 1, cat=0.3)
    slow = ParkedImage(
        image_id(1), "u1", "p1", None, None, None, Slowness.SOURCE,
        Made(datetime.now(UTC), is_fresh=True), Place(TOPIC, 0, 5), Record(TOPIC, None, (), b""), 0,
    )  # fmt: skip
    async with pool.transaction() as tx:
        await parked_images.park(tx, [slow], [(slow.image_id, slow.place)])
    await move_tagging(pool, 6)
    sent, asked = Sent(), received("cats", after=token(5))
    assert await answers_to(role, pool, [asked]) == []
    await pool.execute("UPDATE parked_queries SET deadline = now()")

    room = WaitingRoom(pool.transaction, role.labels, role.images, answers, sent)
    assert await room.serve() == 1

    error = sent.answers[id_of(asked)].error
    assert error is not None
    assert error.reason == "after_timeout"


async def test_a_token_of_another_cluster_is_answered_at_once_and_never_waits(
    role: QueryRole, pool: Pool
) -> None:
    await tag(pool, 1, cat=0.5)
    await move_tagging(pool, 0)
    await pool.execute("UPDATE progress SET cluster_id = 'ours'")
    ours, early, foreign = (
        Token(cluster, TOPIC, 0, 7).encode() for cluster in ("ours", "", "cluster")
    )
    row = Token("cluster", outbox_id=5).encode()
    asked = [received("cats", after=one) for one in (ours, early, foreign, row)]

    events = {event.query_id: event for event in await answers_to(role, pool, asked)}

    assert set(events) == {id_of(one) for one in asked[2:]}
    for event in events.values():
        assert event.type is AnswerType.FAILED
        assert event.error is not None
        assert event.error.reason == "after_other_cluster"
        assert "'cluster'" in event.error.detail
    assert await pool.fetchval("SELECT count(*) FROM parked_queries") == 2


async def test_before_any_consumer_was_given_a_partition_every_token_waits(
    role: QueryRole, pool: Pool
) -> None:
    assert await answers_to(role, pool, [received("cats", after=token(0))]) == []
