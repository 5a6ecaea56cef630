"""The query role and the waiting room, with ports in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from consumers.query.answering import ImageMatch, LabelQuery, Understood
from consumers.query.role import Prepared, QueryRole
from consumers.query.waiting import WaitingRoom
from core.errors import PermanentError, QueryInvalid
from core.messaging.role import Item, Received
from core.offsets import OutboxRow
from core.relevance.terms import NamedLabel
from core.storage.queries.queries import NewAnswer
from core.transaction import Transaction
from schemas.callback import AnswerType, CallbackRequested, callback_id_of
from schemas.query import QuerySubmitted
from schemas.record import Partition, Record
from schemas.token import Token
from schemas.topics import CALLBACKS_REQUESTED, QUERIES_SUBMITTED
from tests.fakes.transactions import NoTransaction, no_transaction

CAT, DOG = NamedLabel(1, "cat", ("cats",)), NamedLabel(2, "dog", ("dog",))
TOKEN = Token("cluster", "images.arrived.v1", 3, 41)


@dataclass
class WordList:
    """A language with two words, which refuses one."""

    async def refresh(self) -> None:
        pass

    async def understand(self, text: str) -> Understood | PermanentError:
        if "forbidden" in text:
            return QueryInvalid("this text cannot be understood")
        labels = tuple(label for label in (CAT, DOG) if label.words[0] in text)
        return Understood(tuple(text.split()), labels, 1)


@dataclass
class MemoryArchive:
    found: list[ImageMatch] = field(default_factory=list)
    asked: list[tuple[tuple[int, ...], int]] = field(default_factory=list)
    too_slow: PermanentError | None = None

    async def best_all(
        self, sought: Sequence[LabelQuery]
    ) -> list[list[ImageMatch] | PermanentError]:
        self.asked += [(one.label_ids, one.min_score) for one in sought]
        return [self.too_slow or self.found[: one.options.top_n] for one in sought]


@dataclass
class MemoryAnswers:
    answers: dict[UUID, CallbackRequested] = field(default_factory=dict)
    waiting: set[Token] = field(default_factory=set)
    parked: list[tuple[QuerySubmitted, Token]] = field(default_factory=list)
    due: list[tuple[QuerySubmitted, bool]] = field(default_factory=list)
    asked_by: dict[str, str] = field(default_factory=dict)

    async def keep(
        self, tx: Transaction, answers: Sequence[tuple[QuerySubmitted, CallbackRequested]]
    ) -> dict[UUID, NewAnswer]:
        new = {event.query_id: event for _, event in answers if event.query_id not in self.answers}
        self.answers |= new
        return {
            query_id: NewAnswer(self.asked_by.get(event.text), 0.0)
            for query_id, event in new.items()
        }

    async def must_wait(self, tokens: Sequence[Token]) -> list[bool | PermanentError]:
        return [
            QueryInvalid("not ours", reason="after_other_cluster")
            if token.cluster != TOKEN.cluster
            else token in self.waiting
            for token in tokens
        ]

    async def park(self, tx: Transaction, waiting: Sequence[tuple[QuerySubmitted, Token]]) -> None:
        self.parked += waiting

    async def ready(self, limit: int) -> list[tuple[QuerySubmitted, bool]]:
        return self.due[:limit]

    async def unpark(self, tx: Transaction, query_ids: Sequence[UUID]) -> None:
        self.due = [one for one in self.due if one[0].query_id not in query_ids]


def received(text: str, offset: int = 0, **fields: object) -> Received[QuerySubmitted]:
    event = QuerySubmitted.model_validate(
        {"text": text, "callback_url": "https://Hooks.example/in", "query_id": uuid4()} | fields
    )
    return Received(
        event=event,
        partition=Partition(QUERIES_SUBMITTED.name, 0),
        offset=offset,
        record=Record(QUERIES_SUBMITTED.name, None, (), b""),
        timestamp_ms=0,
    )


def role(*found: ImageMatch) -> tuple[QueryRole, MemoryArchive, MemoryAnswers]:
    archive, answers = MemoryArchive(list(found)), MemoryAnswers()
    return QueryRole(WordList(), archive, answers), archive, answers


def event_of(record: Record) -> CallbackRequested:
    return CallbackRequested.model_validate_json(record.value)


async def test_the_answer_names_the_best_image_and_explains_itself() -> None:
    best = ImageMatch(uuid4(), 1_500_000, {1: 600_000, 2: 900_000})
    query, archive, answers = role(best)
    answers.asked_by["cats and dog"] = "ann"

    outcome = await query.apply(
        await query.prepare([received("cats and dog", owner="ann")]), NoTransaction()
    )

    event = event_of(outcome.emitted[0])
    assert event.type is AnswerType.COMPLETED
    assert (event.image_id, event.score, event.owner) == (best.image_id, 1.5, "ann")
    assert [(m.tag, m.words, m.score) for m in event.matched] == [
        ("dog", ("dog",), 0.9),
        ("cat", ("cats",), 0.6),
    ]
    assert archive.asked == [((1, 2), 1)]


async def test_the_callback_event_is_keyed_by_host_and_its_id_is_constant() -> None:
    query, _, _ = role()
    asked = received("cats")

    outcome = await query.apply(await query.prepare([asked]), NoTransaction())

    record = outcome.emitted[0]
    assert record.topic == CALLBACKS_REQUESTED.name
    assert record.key == b"hooks.example"
    assert asked.event.query_id is not None
    assert record.header("ce_id") == str(callback_id_of(asked.event.query_id))


async def test_a_query_that_matches_nothing_is_answered_all_the_same() -> None:
    query, archive, _ = role(ImageMatch(uuid4(), 1, {1: 1}))

    outcome = await query.apply(await query.prepare([received("quantum soup")]), NoTransaction())

    assert event_of(outcome.emitted[0]).type is AnswerType.NO_MATCH
    assert archive.asked == []


async def test_a_query_that_cannot_be_understood_is_answered_with_the_reason() -> None:
    query, _, _ = role()

    outcome = await query.apply(await query.prepare([received("forbidden")]), NoTransaction())

    event = event_of(outcome.emitted[0])
    assert event.type is AnswerType.FAILED
    assert event.error is not None
    assert event.error.reason == "query_invalid"
    assert outcome.rejected == ()


async def test_a_query_that_takes_too_long_is_answered_and_the_others_too() -> None:
    query, archive, _ = role(ImageMatch(uuid4(), 1, {1: 1}))
    archive.too_slow = QueryInvalid("took 10 s", reason="query_too_slow")

    outcome = await query.apply(
        await query.prepare([received("cats"), received("soup", 1)]), NoTransaction()
    )

    first, second = map(event_of, outcome.emitted)
    assert first.error is not None
    assert first.error.reason == "query_too_slow"
    assert second.type is AnswerType.NO_MATCH


async def test_a_query_whose_record_killed_the_process_is_answered_with_the_reason() -> None:
    query, _, _ = role()
    crashed: Item[QuerySubmitted, Prepared] = Item(
        received("cats"), PermanentError("killed us", reason="process_crashed")
    )

    outcome = await query.apply([crashed], NoTransaction())

    error = event_of(outcome.emitted[0]).error
    assert error is not None
    assert error.reason == "process_crashed"


async def test_the_first_answer_wins_and_a_replay_says_nothing() -> None:
    first = ImageMatch(uuid4(), 500_000, {1: 500_000})
    query, archive, answers = role(first)
    asked = received("cats")
    await query.apply(await query.prepare([asked]), NoTransaction())
    archive.found = [ImageMatch(uuid4(), 900_000, {1: 900_000})]

    outcome = await query.apply(await query.prepare([asked]), NoTransaction())

    assert outcome.emitted == ()
    assert [answer.image_id for answer in answers.answers.values()] == [first.image_id]


async def test_one_query_twice_in_a_batch_is_answered_once() -> None:
    query, _, _ = role()
    asked = received("cats")

    outcome = await query.apply(await query.prepare([asked, asked]), NoTransaction())

    assert len(outcome.emitted) == 1


async def test_a_direct_query_without_an_id_gets_one_from_its_place() -> None:
    query, _, answers = role()
    twice = [received("cats", 7, query_id=None), received("cats", 7, query_id=None)]

    for asked in twice:
        await query.apply(await query.prepare([asked]), NoTransaction())

    assert len(answers.answers) == 1


async def test_the_others_of_top_n_come_as_ids_with_scores() -> None:
    found = [ImageMatch(uuid4(), score, {1: score}) for score in (900_000, 800_000, 700_000)]
    query, _, _ = role(*found)
    asked = received("cats", options={"top_n": 3, "min_score": 0.5})

    outcome = await query.apply(await query.prepare([asked]), NoTransaction())

    event = event_of(outcome.emitted[0])
    assert [(o.image_id, o.score) for o in event.others] == [
        (found[1].image_id, 0.8),
        (found[2].image_id, 0.7),
    ]


async def test_a_query_after_an_untagged_upload_is_parked_and_holds_nobody() -> None:
    query, _, answers = role()
    answers.waiting = {TOKEN}
    waiting = received("cats", 0, options={"after": TOKEN.encode()})

    outcome = await query.apply(await query.prepare([waiting, received("dog", 1)]), NoTransaction())

    assert [token for _, token in answers.parked] == [TOKEN]
    assert [event_of(record).text for record in outcome.emitted] == ["dog"]


async def test_a_query_after_a_tagged_upload_is_answered_at_once() -> None:
    query, _, answers = role()
    asked = received("cats", options={"after": TOKEN.encode()})

    outcome = await query.apply(await query.prepare([asked]), NoTransaction())

    assert answers.parked == []
    assert len(outcome.emitted) == 1


@dataclass
class MemoryOutbox:
    published: list[Record] = field(default_factory=list)

    async def add(self, tx: Transaction, records: Sequence[Record]) -> list[OutboxRow]:
        return [OutboxRow(0, record) for record in records]

    async def publish(self, rows: Sequence[OutboxRow]) -> None:
        self.published += [row.record for row in rows]


async def test_parked_queries_are_answered_or_failed_when_their_time_is_over() -> None:
    found = ImageMatch(uuid4(), 900_000, {1: 900_000})
    tagged, late = received("cats").event, received("cats").event
    answers, outbox = MemoryAnswers(due=[(tagged, False), (late, True)]), MemoryOutbox()
    room = WaitingRoom(no_transaction, WordList(), MemoryArchive([found]), answers, outbox)

    assert await room.serve() == 2

    events: dict[UUID | None, CallbackRequested] = {
        event.query_id: event for event in map(event_of, outbox.published)
    }
    assert events[tagged.query_id].image_id == found.image_id
    assert events[late.query_id].type is AnswerType.FAILED
    late_error = events[late.query_id].error
    assert late_error is not None
    assert late_error.reason == "after_timeout"
    assert answers.due == []


async def test_a_token_that_can_never_be_met_is_answered_at_once_with_its_reason() -> None:
    query, archive, answers = role(ImageMatch(uuid4(), 1, {1: 1}))
    foreign = Token("elsewhere", "images.arrived.v1", 3, 41).encode()

    outcome = await query.apply(
        await query.prepare(
            [received("cats", options={"after": foreign}), received("dog", offset=1)]
        ),
        NoTransaction(),
    )

    failed, completed = map(event_of, outcome.emitted)
    assert failed.type is AnswerType.FAILED
    assert failed.error is not None
    assert failed.error.reason == "after_other_cluster"
    assert completed.type is AnswerType.COMPLETED
    assert archive.asked == [((2,), 1)]  # no search was made for it
    assert answers.parked == []


@dataclass
class BrokenArchive(MemoryArchive):
    """Breaks where a query names dogs."""

    async def best_all(
        self, sought: Sequence[LabelQuery]
    ) -> list[list[ImageMatch] | PermanentError]:
        if any(DOG.label_id in one.label_ids for one in sought):
            raise OverflowError("cannot convert float infinity to integer")
        return await super().best_all(sought)


async def test_a_waiting_query_that_breaks_is_answered_and_costs_no_other() -> None:
    queries = [received(text).event for text in ("cats", "dog", "cats again")]
    answers, outbox = MemoryAnswers(due=[(query, False) for query in queries]), MemoryOutbox()
    room = WaitingRoom(no_transaction, WordList(), BrokenArchive(), answers, outbox)

    assert await room.serve() == 3

    events = {event.query_id: event for event in map(event_of, outbox.published)}
    kinds = [events[query.query_id or uuid4()].type for query in queries]
    assert kinds == [AnswerType.NO_MATCH, AnswerType.FAILED, AnswerType.NO_MATCH]
    error = events[queries[1].query_id or uuid4()].error
    assert error is not None
    assert error.reason == "unexpected_error"
    assert "OverflowError" in error.detail
