"""An event's field takes what its twin in a request takes, and refuses what that refuses."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from core.errors import UndecodableEvent
from core.messaging.cloudevents import decode
from ingress.models.delivery.queries import QueryRequest
from ingress.models.tag import TagImageRequest
from schemas.image import ImageArrived
from schemas.query import QueryOptions, QuerySubmitted
from schemas.record import Record
from schemas.token import Token
from schemas.topics import EVENT_TOPICS, QUERIES_SUBMITTED

QUERY = {"text": "a cat", "callback_url": "https://example.org/hook"}
TOKEN = Token("cluster", "images.arrived.v1", 3, 7).encode()
VALUES: list[Any] = [
    *("", " ", "cat", "x" * 200, "x" * 201, "x" * 2000, "x" * 2001, "x" * 10_001),
    *("\x00", "a\x00b", "\ud800", "a\udfffb", "\ufeff", "1", "1e999", "nan", TOKEN, TOKEN + "!"),
    *(0, 1, 2, 50, 51, 30_000, 30_001, -1, 2**31, 2**63, 2**64, 10**400, True, False, None),
    *(0.0, -0.0, 0.5, 1.5, 2.0, 51.0, 1e6, 1e7, 1e308, 1e-320, -0.1),
    *(float("inf"), float("-inf"), float("nan")),
    *("2024-05-01", "2024-05-01T10:00:00", "2024-05-01T10:00:00Z", 1714557600, 1e18),
    *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"),
    *([], {}, ["cat"], ["cat", "dog"], ["cat", "cat"], [""], ["x" * 201], ["\x00"], ["\ud800"]),
    *([1], [None], [["cat"]], [str(n) for n in range(30_001)], "inline", "link", "email"),
]


def question(**more: Any) -> dict[str, Any]:
    return QUERY | more


def options(**more: Any) -> dict[str, Any]:
    return QUERY | {"options": more}


def photo(**more: Any) -> dict[str, Any]:
    return {"uri": "file:main/cat.jpg"} | more


def file(**more: Any) -> dict[str, Any]:
    return {"image_path": "main/cat.jpg"} | more


Make = Callable[..., dict[str, Any]]
#: Field of the event, field of the request; how a whole one of each is made.
TWINS: list[tuple[str, type[BaseModel], Make, str, type[BaseModel], Make]] = [
    ("text", QuerySubmitted, question, "text", QueryRequest, question),
    ("callback_url", QuerySubmitted, question, "callback_url", QueryRequest, question),
    *(
        (name, QuerySubmitted, options, name, QueryRequest, question)
        for name in QueryOptions.model_fields
    ),
    ("labels", ImageArrived, photo, "tags", TagImageRequest, file),
    ("top_k", ImageArrived, photo, "top_k", TagImageRequest, file),
]


def takes(model: type[BaseModel], value: dict[str, Any]) -> bool:
    """Tell whether a JSON document is taken: on the topic, or by the HTTP face."""
    text = json.dumps(value).encode()
    try:
        if model in {topic.model for topic in EVENT_TOPICS}:
            decode(QUERIES_SUBMITTED, Record("t", None, (), text), model)
        else:
            model.model_validate_json(text, strict=True)  # as `ingress.http.bodies.read_model`
    except (ValidationError, UndecodableEvent):
        return False
    return True


@pytest.mark.parametrize("twins", TWINS, ids=lambda twins: f"{twins[1].__name__}.{twins[0]}")
def test_twins_take_and_refuse_the_same(
    twins: tuple[str, type[BaseModel], Make, str, type[BaseModel], Make],
) -> None:
    name, event, of_event, twin, request, of_request = twins

    differ = [
        value
        for value in VALUES
        if takes(event, of_event(**{name: value})) != takes(request, of_request(**{twin: value}))
    ]

    assert not differ


@pytest.mark.parametrize("model", [QuerySubmitted, QueryRequest])
def test_a_range_of_dates_that_holds_nothing_is_refused(model: type[BaseModel]) -> None:
    dates = {"date_from": "2024-05-02T00:00:00Z", "date_to": "2024-05-01T00:00:00Z"}
    make = options if model is QuerySubmitted else question

    assert not takes(model, make(**dates))
    assert takes(model, make(date_from=dates["date_to"], date_to=dates["date_from"]))


def test_every_option_of_an_event_has_a_twin() -> None:
    common = QueryRequest.model_fields.keys() - {"text", "callback_url"}
    assert common == QueryOptions.model_fields.keys()


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1" * 500])
def test_no_event_has_a_number_that_cannot_be_counted_with(number: str) -> None:
    document = json.dumps(QUERY)[:-1] + f', "options": {{"min_score": {number}}}}}'

    with pytest.raises(UndecodableEvent, match="min_score"):
        decode(QUERIES_SUBMITTED, Record("t", None, (), document.encode()), QuerySubmitted)
