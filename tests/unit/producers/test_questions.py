"""A file of queries: the query of each line, or its error."""

import json

import pytest

from core.errors import QueryInvalid
from producers.publishing import Patience
from producers.questions import Line, read_lines, submit_all
from schemas.query import QueryOptions, QuerySubmitted
from tests.fakes.publisher import MemoryPublisher

URL = "https://me.example/hook"


def read(*lines: str, callback_url: str | None = URL, run: str | None = None) -> list[Line]:
    return list(read_lines(lines, callback_url=callback_url, run=run))


def test_a_sentence_a_line_and_json_with_options_are_read() -> None:
    asked = {"text": "собака", "callback_url": "https://other.example/", "options": {"top_n": 3}}

    lines = read("  a dog on the beach \n", "", "# a comment", json.dumps(asked))

    one, four = (line.query_id for line in lines)
    assert [(line.number, line.query) for line in lines] == [
        (1, QuerySubmitted(query_id=one, text="a dog on the beach", callback_url=URL)),
        (
            4,
            QuerySubmitted(
                query_id=four,
                text="собака",
                callback_url="https://other.example/",
                options=QueryOptions(top_n=3),
            ),
        ),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": "x"', "no JSON"),
        ('{"callback_url": "https://x/"}', "no field 'text'"),
        ('{"text": "x", "top_n": 2}', "unknown field 'top_n'"),
        ('{"text": "x", "options": {"top_n": 0}}', "top_n"),
    ],
)
def test_a_line_that_cannot_be_read_says_what_is_wrong(line: str, problem: str) -> None:
    [read_line] = read(line)

    assert isinstance(read_line.query, QueryInvalid)
    assert problem in str(read_line.query)


def test_a_line_without_any_callback_url_is_refused() -> None:
    [line] = read("a dog", callback_url=None)

    assert isinstance(line.query, QueryInvalid)
    assert "--callback-url" in str(line.query)


def test_under_one_name_a_file_asks_the_same_questions_again() -> None:
    first, again = read("a", "b", run="monday"), read("a", "b", run="monday")
    other, anonymous = read("a", "b", run="tuesday"), read("a", "b")

    ids = [line.query_id for line in first]
    assert ids == [line.query_id for line in again]
    assert len({*ids, *(line.query_id for line in other + anonymous)}) == 6


async def test_good_lines_are_submitted_and_bad_ones_told_in_order() -> None:
    kafka = MemoryPublisher()
    lines = read("one", "{", "two", "x" * 10_001)

    outcomes = await submit_all(kafka, lines, Patience(limit_s=0))

    assert [outcome.problem is None for outcome in outcomes] == [True, False, True, False]
    events = [QuerySubmitted.model_validate_json(record.value) for record in kafka.records]
    assert [(event.text, event.callback_url) for event in events] == [("one", URL), ("two", URL)]
    assert [event.query_id for event in events] == [lines[0].query_id, lines[2].query_id]
    assert "text" in str(outcomes[3].problem)
