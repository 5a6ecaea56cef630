"""Keys, scopes, rates."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from core.storage import keys
from ingress.app import DESCRIBED
from ingress.auth.access import HEADER, LOOKUPS_AT_ONCE
from ingress.auth.api_keys import Scope, make_key
from ingress.operations import Operation
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import NOW, MakeWorld, World

PROTECTED = [one for one in DESCRIBED if one.scope is not None]
FOR_ANY_KEY = [one for one in DESCRIBED if one.any_key]
SOME_ID = "0b9f5f4e-27f2-4d35-9a5c-6d3d8c1b0a11"


def url_of(path: str) -> str:
    head, brace, _ = path.partition("{")
    return path if not brace else head + SOME_ID + path.partition("}")[2]


def finds(world: World) -> int:
    """How often a key was looked up."""
    return sum("FROM api_keys" in one for one in world.pool.statements)


def touches(world: World) -> int:
    """How often the use of a key was written down."""
    return sum("SET last_used_at" in one for one in world.pool.statements)


async def uses(world: World) -> list[str]:
    """The keys that were used."""
    used = await world.pool.fetch("SELECT key_id FROM api_keys WHERE last_used_at IS NOT NULL")
    return [row["key_id"] for row in used]


async def get(world: World, key: str | None, path: str = f"/images/{SOME_ID}") -> httpx.Response:
    headers = {} if key is None else {HEADER: key}
    transport = httpx.ASGITransport(world.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://archive") as http:
        return await http.get(path, headers=headers)


@pytest.mark.parametrize("operation", PROTECTED, ids=lambda one: f"{one.method} {one.path}")
async def test_without_a_key_nothing_is_done(world: World, operation: Operation) -> None:
    async with world.client() as http:
        response = await http.request(operation.method, url_of(operation.path), content=b"{}")

    problem_in(response, "key_missing")
    assert response.headers["www-authenticate"].startswith("ApiKey ")


@pytest.mark.parametrize("operation", FOR_ANY_KEY, ids=lambda one: f"{one.method} {one.path}")
async def test_without_key_and_session_nothing_is_told(world: World, operation: Operation) -> None:
    async with world.client() as http:
        response = await http.request(operation.method, url_of(operation.path), content=b"{}")

    problem_in(response, "session_missing")
    assert response.headers["www-authenticate"].startswith("ApiKey ")


@pytest.mark.parametrize("operation", FOR_ANY_KEY, ids=lambda one: f"{one.method} {one.path}")
@pytest.mark.parametrize("scope", list(Scope))
async def test_what_is_for_any_key_asks_for_no_scope(
    world: World, operation: Operation, scope: Scope
) -> None:
    async with world.client(scope) as http:
        response = await http.request(operation.method, url_of(operation.path), content=b"{}")

    assert response.status_code not in {401, 403}, response.text


@pytest.mark.parametrize("operation", PROTECTED, ids=lambda one: f"{one.method} {one.path}")
async def test_a_key_without_the_scope_is_refused_with_the_scopes_name(
    world: World,
    operation: Operation,
) -> None:
    assert operation.scope is not None
    others = [scope for scope in Scope if scope not in {operation.scope, Scope.ADMIN}]
    async with world.client(*others) as http:
        response = await http.request(operation.method, url_of(operation.path), content=b"{}")

    assert repr(operation.scope.value) in problem_in(response, "scope_missing")["detail"]


async def test_a_wrong_key_of_the_right_id_is_refused(world: World) -> None:
    right = await world.key(Scope.READ)
    await world.pool.execute("UPDATE api_keys SET digest = $1", make_key().digest)

    problem_in(await get(world, right.text), "key_invalid")
    assert await uses(world) == []
    assert touches(world) == 0


@pytest.mark.parametrize(
    "change",
    [{"revoked_at": NOW}, {"expires_at": NOW}, {"expires_at": NOW - timedelta(days=1)}],
)
async def test_an_ended_key_is_refused(world: World, change: dict[str, Any]) -> None:
    key = await world.key(Scope.READ)
    [(column, at)] = change.items()
    await world.pool.execute(f"UPDATE api_keys SET {column} = $1", at)

    problem_in(await get(world, key.text), "key_invalid")


async def test_an_unknown_key_and_a_misspelled_one_get_the_same_answer(world: World) -> None:
    unknown = await get(world, make_key().text)
    garbage = await get(world, "pa_x")

    assert (
        problem_in(unknown, "key_invalid")["detail"] == problem_in(garbage, "key_invalid")["detail"]
    )


async def test_a_misspelled_key_never_reaches_the_database(world: World) -> None:
    text = (await world.key(Scope.READ)).text
    last = "0" if text[-1] != "0" else "1"

    await get(world, text[:-1] + last)

    assert finds(world) == 0


async def test_a_key_is_looked_up_once_in_a_while_and_its_end_is_noticed(world: World) -> None:
    key = await world.key(Scope.READ)
    for _ in range(3):
        problem_in(await get(world, key.text), "image_not_found")
    assert finds(world) == 1

    await keys.revoke(world.pool, key.key_id)
    world.seconds += 5.1

    problem_in(await get(world, key.text), "key_invalid")


async def test_the_use_of_a_key_is_noted_at_most_once_a_minute(world: World) -> None:
    key = await world.key(Scope.READ)
    for _ in range(3):
        await get(world, key.text)
    assert (await uses(world), touches(world)) == ([key.key_id], 1)

    world.now += timedelta(minutes=2)
    await get(world, key.text)

    assert touches(world) == 2


async def test_a_key_in_memory_outlives_the_database(world: World) -> None:
    key = await world.key(Scope.READ)
    await get(world, key.text)
    world.pool.is_away = True

    problem_in(await get(world, key.text), "unavailable")  # the key passed, the image did not


async def test_many_wrong_keys_of_one_address_are_slowed_down(world: World) -> None:
    answers = [await get(world, make_key().text) for _ in range(6)]

    problem_in(answers[4], "key_invalid")
    problem_in(answers[5], "rate_limited")
    assert answers[5].headers["retry-after"] == "1"


@pytest.mark.parametrize("is_known", [True, False])
async def test_one_that_guesses_locks_out_nobody_at_the_same_address(
    world: World, *, is_known: bool
) -> None:
    key = await world.key(Scope.READ)
    if is_known:
        await get(world, key.text)
    for _ in range(25):
        await get(world, make_key().text)
        await get(world, "pa_x")

    problem_in(await get(world, make_key().text), "rate_limited")
    problem_in(await get(world, "pa_x"), "rate_limited")
    problem_in(await get(world, key.text), "image_not_found")  # the key passed


async def test_guesses_take_turns_at_the_database(world: World) -> None:
    await asyncio.gather(*(get(world, make_key().text) for _ in range(20)))

    assert finds(world) == 20
    assert world.pool.most_at_once == LOOKUPS_AT_ONCE


async def test_a_right_key_is_not_counted_as_a_wrong_one(world: World) -> None:
    key = await world.key(Scope.READ)

    answers = [await get(world, key.text) for _ in range(20)]

    assert {answer.status_code for answer in answers} == {404}


async def test_too_many_requests_of_one_key_are_put_off_until_time_has_passed(
    make_world: MakeWorld,
) -> None:
    world = make_world(requests_per_second=1)
    key = await world.key(Scope.READ)
    for _ in range(2):
        problem_in(await get(world, key.text), "image_not_found")

    late = await get(world, key.text)
    assert problem_in(late, "rate_limited")
    assert late.headers["retry-after"] == "1"
    world.seconds += 1

    problem_in(await get(world, key.text), "image_not_found")


async def test_one_keys_hurry_is_not_another_keys_wait(make_world: MakeWorld) -> None:
    world = make_world(requests_per_second=0.5)
    hurried, patient = await world.key(Scope.READ), await world.key(Scope.READ)
    await get(world, hurried.text)
    problem_in(await get(world, hurried.text), "rate_limited")

    problem_in(await get(world, patient.text), "image_not_found")
