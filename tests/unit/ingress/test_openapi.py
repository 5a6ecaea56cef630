"""What readers and generators of clients trip over in an OpenAPI document."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from ingress.app import DESCRIBED
from ingress.documents import openapi
from ingress.models.page.sessions import SignIn

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def document() -> openapi.Document:
    return openapi.build(DESCRIBED, version="1.2.3", server="http://archive")


def parts(value: object, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each object in the document with its path."""
    if isinstance(value, Mapping):
        yield path, value
        for name, one in value.items():
            yield from parts(one, f"{path}/{name}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from parts(one, f"{path}/{number}")


def test_no_description_has_lines_that_markdown_shows_as_code(document: openapi.Document) -> None:
    indented = [
        path
        for path, part in parts(document)
        if isinstance(text := part.get("description"), str)
        and any(line.startswith("    ") for line in text.splitlines())
    ]

    assert indented == []


def test_each_operation_has_an_id_that_can_be_the_name_of_a_function(
    document: openapi.Document,
) -> None:
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
    ]

    assert [one for one in ids if not one.isidentifier()] == []
    assert len(ids) == len(set(ids))


def test_each_post_takes_a_key_or_the_docs_say_that_it_needs_none(
    document: openapi.Document,
) -> None:
    posts = {path: item["post"] for path, item in document["paths"].items() if "post" in item}
    taking = {
        path
        for path, post in posts.items()
        if any(one.get("name") == "Idempotency-Key" for one in post.get("parameters", ()))
    }
    [told] = re.findall(
        r"^`Idempotency-Key` is for (.*?)\. All other `POST` .*?: (.*?)\.$",
        (ROOT / "docs/api.md").read_text(),
        re.MULTILINE,
    )
    with_key, without = (set(re.findall(r"`(/[^`]*)`", words)) for words in told)

    assert with_key == {re.sub(r"\{\w*id\}", "{id}", path) for path in taking}
    assert with_key | without == {re.sub(r"\{\w*id\}", "{id}", path) for path in posts}


def test_no_field_can_only_be_null(document: openapi.Document) -> None:
    # It says nothing, and generators have no type for it.
    nothing = [
        path
        for path, part in parts(document)
        if part.get("type") == "null" and "/anyOf/" not in path
    ]

    assert nothing == []


def test_no_object_has_alternatives_beside_its_fields(document: openapi.Document) -> None:
    # Generators take the alternatives for the whole, and send none of the fields.
    mixed = [
        path
        for path, part in parts(document["components"])
        if "properties" in part and part.keys() & {"oneOf", "anyOf", "allOf"}
    ]

    assert mixed == []


def test_bodies_of_bytes_are_not_described_as_text(document: openapi.Document) -> None:
    binary = {
        (path, media_type): described["schema"].get("format")
        for path, part in parts(document["paths"])
        for media_type, described in part.items()
        if media_type == "application/octet-stream" or media_type.startswith("image/")
    }

    assert len(binary) >= 5
    assert set(binary.values()) == {"binary"}


@pytest.mark.parametrize(
    ("body", "is_good"),
    [
        ({"key": "x"}, True),
        ({"code": "x"}, True),
        ({"code": "x", "leave": True}, True),
        ({"leave": True}, False),
        ({"key": "x", "leave": True}, False),
        ({"key": "x", "code": "x"}, False),
        ({}, False),
    ],
)
def test_signing_in_is_described_as_it_is_taken(
    document: openapi.Document, body: dict[str, object], *, is_good: bool
) -> None:
    schema = document["components"]["schemas"]["SignIn"]

    assert Draft202012Validator(schema).is_valid(body) == is_good
    try:
        SignIn.model_validate(body)
    except ValidationError:
        assert not is_good
    else:
        assert is_good
