"""Texts as people type them, answered by the whole query role on a real database."""

from dataclasses import replace
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from consumers.query.archive import StoredArchive
from consumers.query.metrics import QueryMetrics
from consumers.query.role import QueryRole
from core.storage.pool import Pool
from core.storage.queries import queries
from core.telemetry.metrics import Metrics
from schemas.callback import AnswerType, CallbackRequested
from schemas.query import QuerySubmitted
from schemas.token import Token
from tests.integration.query.asking import answers_to, ask, received, tag
from tests.integration.relevance.archive import image_id


@pytest.fixture
async def filled(pool: Pool) -> Pool:
    await tag(pool, 1, cat=0.9, dog=0.05)
    await tag(pool, 2, beach=0.6, cat=0.35)
    await tag(pool, 3, beach=0.8, children=0.1)
    await tag(pool, 4, Victory_Day=0.7, veterans=0.2)
    await tag(pool, 5, celebration=0.6, military=0.3)
    return pool


def explained(answer: CallbackRequested) -> list[tuple[str, tuple[str, ...], float]]:
    return [(tag.tag, tag.words, tag.score) for tag in answer.matched]


async def test_two_languages_in_one_sentence(role: QueryRole, filled: Pool) -> None:
    answer = await ask(role, filled, "кошки on the beaches")

    assert (answer.image_id, answer.score) == (image_id(2), 0.95)
    assert explained(answer) == [("beach", ("beaches",), 0.6), ("cat", ("кошки",), 0.35)]
    assert set(answer.lemmas) == {"кошка", "on", "the", "beach"}


@pytest.mark.parametrize("text", ["ДЕНЬ ПОБЕДЫ", "дня  победы!", "Victory-Day", "9 мая", "9-Мая"])
async def test_a_label_of_several_words_in_every_spelling(
    role: QueryRole, filled: Pool, text: str
) -> None:
    answer = await ask(role, filled, text)

    assert (answer.image_id, answer.score) == (image_id(4), 0.7)


async def test_a_word_of_a_label_is_not_the_label(role: QueryRole, filled: Pool) -> None:
    answer = await ask(role, filled, "a day at the beach")

    assert explained(answer) == [("beach", ("beach",), 0.8)]
    assert answer.image_id == image_id(3)


async def test_repeats_and_synonyms_count_once(role: QueryRole, filled: Pool) -> None:
    answer = await ask(role, filled, "cat CATS Кошка коты cat")

    assert (answer.image_id, answer.score) == (image_id(1), 0.9)
    assert explained(answer) == [("cat", ("cat", "cats", "кошка", "коты"), 0.9)]


async def test_names_that_people_type_find_the_label_and_count_once(
    role: QueryRole, filled: Pool
) -> None:
    await tag(filled, 6, ship=0.9, cat=0.05)

    young = await ask(role, filled, "kitten and kitties with a puppy")
    small = await ask(role, filled, "кораблики и котик")

    assert (young.image_id, young.score) == (image_id(1), 0.95)
    assert explained(young) == [("cat", ("kitten", "kitties"), 0.9), ("dog", ("puppy",), 0.05)]
    assert (small.image_id, small.score) == (image_id(6), 0.95)
    assert explained(small) == [("ship", ("кораблики",), 0.9), ("cat", ("котик",), 0.05)]


async def test_the_score_is_the_sum_of_the_confidences_that_explain_it(
    role: QueryRole, filled: Pool
) -> None:
    answer = await ask(role, filled, "veterans, military, children, celebrations and Victory Day")

    assert answer.score == pytest.approx(sum(tag.score for tag in answer.matched))
    assert {tag.tag for tag in answer.matched} <= {
        "Victory Day",
        "veterans",
        "celebration",
        "military",
    }


@pytest.mark.parametrize(
    "text",
    [
        "🐱🏖️",
        "the of and",
        "и в на",
        "!!! ...",
        "quantum soup",
        "חתול על החוף",
        "\u202e\u200f",
    ],
)
async def test_a_text_without_a_label_is_answered_with_no_match(
    role: QueryRole, filled: Pool, text: str
) -> None:
    answer = await ask(role, filled, text)

    assert answer.type is AnswerType.NO_MATCH
    assert answer.image_id is None


async def test_a_cat_between_right_to_left_words_is_found(role: QueryRole, filled: Pool) -> None:
    assert (await ask(role, filled, "\u202bחתול cat\u202c")).image_id == image_id(1)


async def test_ten_thousand_characters_are_answered_with_the_limit(
    role: QueryRole, filled: Pool
) -> None:
    answer = await ask(role, filled, "cat " * 2500)

    assert answer.type is AnswerType.FAILED
    assert answer.error is not None
    assert answer.error.reason == "query_too_long"
    assert "2000" in answer.error.detail


def test_a_nul_byte_is_refused_before_it_is_a_query() -> None:
    with pytest.raises(ValidationError, match="NUL"):
        QuerySubmitted(text="cat\x00dog", callback_url="https://a/b")


async def test_options_narrow_the_answer(role: QueryRole, filled: Pool) -> None:
    two = await ask(role, filled, "beach", top_n=2)
    none = await ask(role, filled, "beach", min_score=0.81)
    enough = await ask(role, filled, "beach", min_score=0.8)
    past = await ask(role, filled, "beach", date_to="2001-01-01T00:00:00Z")
    now = await ask(role, filled, "beach", date_from="2001-01-01T00:00:00Z")

    assert [(other.image_id, other.score) for other in two.others] == [(image_id(2), 0.6)]
    assert none.type is past.type is AnswerType.NO_MATCH
    assert enough.image_id == now.image_id == image_id(3)


async def test_an_answer_is_right_while_the_table_has_holes(role: QueryRole, filled: Pool) -> None:
    """No repair runs, so queries read holes and changes of others."""
    await tag(filled, 1, dog=0.9)
    retagged = await ask(role, filled, "cats")
    await filled.execute("UPDATE images SET status = 'missing' WHERE image_id = $1", image_id(3))
    gone = await ask(role, filled, "beaches")
    await filled.execute(
        """UPDATE tagged_images SET tags = '[{"tag": "cat", "score": 0.99}]' WHERE image_id = $1""",
        image_id(5),
    )
    by_hand = await ask(role, filled, "cats")

    assert (retagged.image_id, retagged.score) == (image_id(2), 0.35)
    assert (gone.image_id, gone.score) == (image_id(2), 0.6)
    assert (by_hand.image_id, by_hand.score) == (image_id(5), 0.99)


async def test_a_batch_is_answered_as_its_queries_one_by_one(role: QueryRole, filled: Pool) -> None:
    texts = ["cats", "dogs and cats", "beach", "Victory Day", "soup", "кошки", "military veterans"]
    plain = [await ask(role, filled, text) for text in texts]

    batch = [received(text) for text in texts] + [received("beach", top_n=3)]
    together = await answers_to(role, filled, batch)

    assert [(a.image_id, a.score, a.matched) for a in together[:-1]] == [
        (a.image_id, a.score, a.matched) for a in plain
    ]
    assert len(together[-1].others) == 1


async def test_a_wrong_edit_by_hand_is_refused_and_changes_nothing(
    role: QueryRole, filled: Pool
) -> None:
    from core.errors import RecordRefused

    wrong = ['{"tag": "cat"}', '[{"tag": "cat", "score": 7}]', '[{"score": 1}]', '["cat"]',
             '[{"tag": "cat", "score": 0.1}, {"tag": "cat", "score": 0.2}]']  # fmt: skip
    for tags in wrong:
        with pytest.raises(RecordRefused, match=r"tagged_images\.tags"):
            await filled.execute("UPDATE tagged_images SET tags = $1::jsonb", tags)

    assert (await ask(role, filled, "cat")).image_id == image_id(1)


async def test_it_is_counted_where_queries_are_looked_up(role: QueryRole, filled: Pool) -> None:
    metrics = Metrics(CollectorRegistry())
    counting = replace(
        role, images=StoredArchive(filled, 10, QueryMetrics(metrics, filled).looked_up)
    )

    def counted() -> dict[str, float]:
        return {
            sample.labels["source"]: sample.value
            for family in metrics.query_lookups.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    batch = [received("cats"), received("beach"), received("beach", top_n=3), received("soup")]
    await answers_to(counting, filled, batch)
    assert counted() == {"table": 2, "images": 1, "images_gap": 0}  # soup is not a label

    await tag(filled, 1, dog=0.9)  # makes a hole in the row of cat
    await answers_to(counting, filled, [received("cats")])
    assert counted() == {"table": 2, "images": 1, "images_gap": 1}


async def test_answers_are_counted_once_with_the_time_since_the_query_was_accepted(
    role: QueryRole, filled: Pool
) -> None:
    metrics = Metrics(CollectorRegistry())
    measuring = QueryMetrics(metrics, filled)
    counting = replace(role, answered=measuring.answered)
    batch = [received("cats"), received("soup")]
    await answers_to(counting, filled, batch)
    accepted = received("beach")
    await filled.execute(
        "INSERT INTO queries (query_id, text, callback_url, options, status, accepted_at)"
        " VALUES ($1, 'beach', 'https://hooks.example/in', '{}', 'accepted',"
        " now() - interval '20 s')",
        accepted.event.query_id,
    )

    await answers_to(counting, filled, [accepted])
    await answers_to(counting, filled, [accepted, *batch])  # replayed: answered before
    await answers_to(counting, filled, [received("cats", after=Token("", "t", 0, 7).encode())])
    await measuring.show_parked()

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"photo_archive_{name}", labels)

    assert value("queries_total", outcome="completed") == 2
    assert value("queries_total", outcome="no_match") == 1
    assert value("query_seconds_count") == 3
    assert 20 <= (value("query_seconds_sum") or 0) < 25
    assert value("queries_parked") == 1


async def test_an_owner_is_believed_only_of_queries_that_came_by_http(
    role: QueryRole, filled: Pool
) -> None:
    by_http, forged = received("cats", owner="alice"), received("beach", owner="alice")
    borrowed = replace(forged, event=forged.event.model_copy(update={"query_id": uuid4()}))
    for one, text in ((by_http, "cats"), (borrowed, "dogs")):
        assert one.event.query_id is not None
        async with filled.transaction() as tx:
            await queries.accept(
                tx,
                query_id=one.event.query_id,
                owner="alice",
                text=text,
                callback_url=one.event.callback_url,
                options={},
                fingerprint=b"f",
            )

    sent = await answers_to(role, filled, [by_http, forged, borrowed])

    owners = {event.query_id: event.owner for event in sent}
    assert owners == {by_http.event.query_id: "alice", forged.event.query_id: None}
    borrowed_id = borrowed.event.query_id
    assert borrowed_id is not None
    waiting = await queries.status(filled, borrowed_id)
    assert waiting is not None
    assert waiting.status == "accepted"  # its own record has not been processed


async def test_a_claimed_owner_sees_nothing_of_a_query_that_came_straight_from_the_topic(
    role: QueryRole, filled: Pool
) -> None:
    token = Token("", outbox_id=7).encode()
    answered, parked = received("cats", owner="alice"), received("dog", owner="alice", after=token)

    await answers_to(role, filled, [answered, parked])

    rows = await filled.fetch("SELECT query_id, owner, status FROM queries")
    assert {row["query_id"]: (row["owner"], row["status"]) for row in rows} == {
        answered.event.query_id: (None, "answered"),
        parked.event.query_id: (None, "waiting"),
    }
