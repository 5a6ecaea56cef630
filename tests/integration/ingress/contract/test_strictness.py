"""What is misspelt, doubled or in another alphabet is refused, and not half understood."""

import re

import pytest

from ingress.app import DESCRIBED
from ingress.auth.api_keys import Scope
from ingress.operations import Operation
from tests.fakes.pictures import jpeg
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World

ASKED = b'{"text": "cat", "callback_url": "https://example.org/x"}'
JSON = {"content-type": "application/json"}


def address(operation: Operation) -> str:
    path = re.sub(r"\{[a-z]+_id\}", "00000000-0000-4000-8000-000000000000", operation.path)
    return re.sub(r"\{[a-z]+\}", "x", path)


async def test_an_unknown_query_parameter_is_refused_on_every_route_with_a_schema(
    world: World,
) -> None:
    strict = [one for one in DESCRIBED if not one.ignores_query]
    accepted = []
    async with world.client(Scope.ADMIN) as http:
        for one in strict:
            answer = await http.request(one.method, f"{address(one)}?unknown=1")
            if answer.status_code != 422 or "unknown" not in answer.json()["detail"]:
                accepted.append((one.method, one.path, answer.status_code))
            world.seconds += 10

    assert accepted == []


@pytest.mark.parametrize("query", ["unknown=1", "lanes=bulk"])
async def test_an_upload_with_a_misspelt_option_is_not_kept(world: World, query: str) -> None:
    async with world.client(Scope.UPLOAD) as http:
        answer = await http.post(
            f"/images/upload?{query}", content=jpeg(1), headers={"content-type": "image/jpeg"}
        )

    assert "filename, lane" in problem_in(answer, "invalid_request")["detail"]
    assert await world.paths() == []


@pytest.mark.parametrize(
    "body",
    [
        ASKED[:-1] + b', "text": "dog"}',
        ASKED[:-1] + b', "t\\u0065xt": "cat"}',
    ],
)
async def test_a_key_that_stands_twice_in_a_body_is_refused(world: World, body: bytes) -> None:
    async with world.client(Scope.QUERY) as http:
        answer = await http.post("/images/tags", content=body, headers=JSON)

    assert '"text" stands twice' in problem_in(answer, "malformed_json")["detail"]
    assert await world.count("queries") == 0


@pytest.mark.parametrize("name", ["X-API-Key", "Idempotency-Key", "Content-Type"])
async def test_a_header_of_one_value_that_comes_twice_is_refused(world: World, name: str) -> None:
    key = (await world.key(Scope.QUERY)).text
    headers = {"X-API-Key": key, "Idempotency-Key": "a", "Content-Type": "application/json"}
    async with world.client() as http:
        sent = [*headers.items(), (name, headers[name])]
        answer = await http.post("/images/tags", content=ASKED, headers=sent)

    assert name in problem_in(answer, "malformed_request")["detail"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json; charset=utf-16", 415),
        ('application/json; charset="ISO-8859-1"', 415),
        ("application/json;charset=UTF-8", 202),
        ('application/json; charset="utf-8"', 202),
    ],
)
async def test_json_comes_in_utf_8(world: World, kind: str, status: int) -> None:
    async with world.client(Scope.QUERY) as http:
        answer = await http.post("/images/tags", content=ASKED, headers={"content-type": kind})

    assert answer.status_code == status, answer.text
    if status == 415:
        assert "charset" in problem_in(answer, "unsupported_media_type")["detail"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("back\\slash.jpg", "slash.jpg"), ("x" * 300, "x" * 255), ("кот.jpg", "кот.jpg")],
)
async def test_an_upload_answers_with_the_name_that_was_sent_and_the_one_that_is_kept(
    world: World, sent: str, kept: str
) -> None:
    async with world.client(Scope.UPLOAD) as http:
        answer = await http.post(
            "/images/upload",
            params={"filename": sent},
            content=jpeg(1),
            headers={"content-type": "image/jpeg"},
        )

    (entry,) = answer.json()["images"]
    assert (entry["filename"], entry["image_path"]) == (sent, kept)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/images?from=x", 'date or time (got "x")'),
        ("/images?status=lost", "missing"),
        ("/images?order=x", "taken_asc"),
        ("/images?cursor=abc", "'abc'"),
        ("/images?tag=" + "y" * 201, "201 characters; the limit is 200"),
        ("/cameras?limit=-1", "none is known here"),
        ("/tags?with=%00", "NUL"),
    ],
)
async def test_an_error_of_a_parameter_names_the_value_or_the_limit(
    world: World, path: str, told: str
) -> None:
    async with world.client(Scope.READ) as http:
        answer = await http.get(path)

    assert told in problem_in(answer, "invalid_request")["detail"]


async def test_an_idempotency_key_that_is_refused_is_named_with_its_length(world: World) -> None:
    async with world.client(Scope.QUERY) as http:
        headers = {**JSON, "Idempotency-Key": "x" * 256}
        answer = await http.post("/images/tags", content=ASKED, headers=headers)

    detail = problem_in(answer, "invalid_request")["detail"]
    assert "256 characters" in detail
    assert "1 to 255" in detail
