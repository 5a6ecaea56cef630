"""What validators find is told in plain words, with JSON's values and places in the body."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from ingress.http.bodies import _invalid, _parsed
from ingress.http.problems import Problem
from ingress.models.delivery.queries import QueryRequest
from ingress.models.page.changes import ImageChangeRequest
from ingress.models.page.filters import ImageFilterText
from ingress.models.page.sessions import SignIn
from ingress.models.tag import TagDirectoryRequest
from schemas.labels import LabelSetText

QUERY = {"text": "cat", "callback_url": "https://example.org/x"}
#: Words of the validator's own.
FOREIGN = ("Value ", "Tuple", "Input", "should", "after validation", "None", "True", "valid ")


def told(model: type[BaseModel], body: Any) -> list[tuple[str, str]]:
    text = json.dumps(body).encode()
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(text, strict=True)
    problem = _invalid(caught.value, model, _parsed(text))
    return [(one.pointer, one.detail) for one in problem.extra.errors]


@pytest.mark.parametrize(
    ("model", "body", "pointer", "detail"),
    [
        (
            QueryRequest,
            {**QUERY, "callback_url": "x" * 2001},
            "/callback_url",
            "2001 characters; the limit is 2000",
        ),
        (QueryRequest, {**QUERY, "text": "   "}, "/text", 'must not be blank (got "   ")'),
        (QueryRequest, {**QUERY, "text": ""}, "/text", "must not be empty"),
        (QueryRequest, {**QUERY, "text": None}, "/text", "must be a text (got null)"),
        (QueryRequest, {**QUERY, "top_n": True}, "/top_n", "must be a whole number (got true)"),
        (QueryRequest, {**QUERY, "top_n": 51}, "/top_n", "must be at most 50 (got 51)"),
        (
            QueryRequest,
            {**QUERY, "min_score": 2e6},
            "/min_score",
            "must be at most 1000000 (got 2000000.0)",
        ),
        (
            QueryRequest,
            {**QUERY, "payload": "x"},
            "/payload",
            'must be "inline" or "link" (got "x")',
        ),
        (QueryRequest, {**QUERY, "colour": 1}, "/colour", "is not a known field"),
        (QueryRequest, {"text": "cat"}, "/callback_url", "is missing"),
        (
            QueryRequest,
            {**QUERY, "date_from": "2024-05-02T00:00:00Z", "date_to": "2024-05-01T00:00:00Z"},
            "/date_to",
            "date_from must lie before date_to",
        ),
        (
            TagDirectoryRequest,
            {"directory_path": "a", "file_extensions": []},
            "/file_extensions",
            "must not be empty",
        ),
        (
            ImageFilterText,
            {"status": "lost"},
            "/status",
            'must be "accepted", "tagged", "failed" or "missing" (got "lost")',
        ),
        (
            ImageFilterText,
            {"order": "x"},
            "/order",
            'must be "arrival", "taken", "taken_asc" or "score" (got "x")',
        ),
        (
            ImageFilterText,
            {"job": "x"},
            "/job",
            'must be an id such as 123e4567-e89b-12d3-a456-426614174000 (got "x")',
        ),
        (
            ImageChangeRequest,
            {"filter": {"all": ["a", 5]}, "change": {"excluded": True}},
            "/filter/all/1",
            "must be a text (got 5)",
        ),
        (
            ImageChangeRequest,
            {"filter": {}, "change": {"remove_tag": 5}},
            "/change/remove_tag",
            "must be a text (got 5)",
        ),
        (
            LabelSetText,
            {"labels": [{"name": "a", "aliases": ["A"]}]},
            "/labels/0/aliases",
            "name or alias 'A' stands twice",
        ),
        (SignIn, {"code": 5}, "/code", "must be a text"),
        (SignIn, {"key": "x" * 201}, "/key", "201 characters; the limit is 200"),
    ],
)
def test_each_finding_is_a_sentence_about_one_place_in_the_body(
    model: type[BaseModel], body: Any, pointer: str, detail: str
) -> None:
    assert told(model, body) == [(pointer, detail)]
    assert not [word for word in FOREIGN if word in detail]


def test_a_secret_is_not_shown() -> None:
    assert "5432" not in str(told(SignIn, {"key": 5432}))


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 2}', b'[{"b": {"c": 1, "d": 2, "\\u0063": 3}}]'])
def test_a_key_stands_once_in_an_object_however_deep(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        _parsed(body)

    assert caught.value.kind.code == "malformed_json"
    assert "stands twice" in caught.value.detail


def test_numbers_without_end_are_left_to_the_validator() -> None:
    _parsed(b'{"a": ' + b"9" * 10_000 + b"}")
