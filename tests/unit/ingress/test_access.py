"""Keys, scopes, rates."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from ingress.app import DESCRIBED
from ingress.auth.access import HEADER, LOOKUPS_AT_ONCE
from ingress.auth.api_keys import Scope, digest_of, key_id_of, make_key
from ingress.http.limits import ByteBudget, RateLimit
from ingress.http.problems import Problem
from ingress.operations import Operation
from tests.fakes.ingress import NOW, World, make_world
from tests.unit.ingress.problems import problem_in

PROTECTED = [one for one in DESCRIBED if one.scope is not None]
SOME_ID = "0b9f5f4e-27f2-4d35-9a5c-6d3d8c1b0a11"


def url_of(path: str) -> str:
    head, brace, _ = path.partition("{")
    return path if not brace else head + SOME_ID + path.partition("}")[2]


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
    right = world.key(Scope.READ)
    other = make_key()
    world.keys.rows[right.key_id] = replace(world.keys.rows[right.key_id], digest=other.digest)

    problem_in(await get(world, right.text), "key_invalid")
    assert world.keys.touched == []


@pytest.mark.parametrize(
    "change",
    [{"revoked_at": NOW}, {"expires_at": NOW}, {"expires_at": NOW - timedelta(days=1)}],
)
async def test_an_ended_key_is_refused(world: World, change: dict[str, Any]) -> None:
    key = world.key(Scope.READ, **change)

    problem_in(await get(world, key.text), "key_invalid")


async def test_an_unknown_key_and_a_misspelled_one_get_the_same_answer(world: World) -> None:
    unknown = await get(world, make_key().text)
    garbage = await get(world, "pa_x")

    assert (
        problem_in(unknown, "key_invalid")["detail"] == problem_in(garbage, "key_invalid")["detail"]
    )


async def test_a_misspelled_key_never_reaches_the_database(world: World) -> None:
    text = world.key(Scope.READ).text
    last = "0" if text[-1] != "0" else "1"

    await get(world, text[:-1] + last)

    assert world.keys.finds == 0


async def test_a_key_is_looked_up_once_in_a_while_and_its_end_is_noticed(world: World) -> None:
    key = world.key(Scope.READ)
    for _ in range(3):
        problem_in(await get(world, key.text), "image_not_found")
    assert world.keys.finds == 1

    world.keys.rows[key.key_id] = replace(world.keys.rows[key.key_id], revoked_at=NOW)
    world.seconds += 5.1

    problem_in(await get(world, key.text), "key_invalid")


async def test_the_use_of_a_key_is_noted_at_most_once_a_minute(world: World) -> None:
    key = world.key(Scope.READ)
    for _ in range(3):
        await get(world, key.text)
    assert world.keys.touched == [key.key_id]

    world.now += timedelta(minutes=2)
    await get(world, key.text)

    assert len(world.keys.touched) == 2


async def test_a_key_in_memory_outlives_the_database(world: World) -> None:
    key = world.key(Scope.READ)
    await get(world, key.text)
    world.database.is_away = True

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
    key = world.key(Scope.READ)
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

    assert world.keys.finds == 20
    assert world.keys.most_at_once == LOOKUPS_AT_ONCE


async def test_a_right_key_is_not_counted_as_a_wrong_one(world: World) -> None:
    key = world.key(Scope.READ)

    answers = [await get(world, key.text) for _ in range(20)]

    assert {answer.status_code for answer in answers} == {404}


async def test_too_many_requests_of_one_key_are_put_off_until_time_has_passed() -> None:
    world = make_world(requests_per_second=1)
    key = world.key(Scope.READ)
    for _ in range(2):
        problem_in(await get(world, key.text), "image_not_found")

    late = await get(world, key.text)
    assert problem_in(late, "rate_limited")
    assert late.headers["retry-after"] == "1"
    world.seconds += 1

    problem_in(await get(world, key.text), "image_not_found")


async def test_one_keys_hurry_is_not_another_keys_wait() -> None:
    world = make_world(requests_per_second=0.5)
    hurried, patient = world.key(Scope.READ), world.key(Scope.READ)
    await get(world, hurried.text)
    problem_in(await get(world, hurried.text), "rate_limited")

    problem_in(await get(world, patient.text), "image_not_found")


def test_a_made_key_has_its_id_and_digest_inside() -> None:
    made = make_key()

    assert key_id_of(made.text) == made.key_id
    assert digest_of(made.text) == made.digest
    assert len(made.text) == len("pa_") + 8 + 1 + 43 + 1 + 6


def test_two_keys_differ() -> None:
    assert len({make_key().text for _ in range(100)}) == 100


@pytest.mark.parametrize("index", [3, 15, 40, -1])
def test_one_changed_character_makes_it_no_key(index: int) -> None:
    text = list(make_key().text)
    text[index] = "a" if text[index] != "a" else "b"

    assert key_id_of("".join(text)) is None


def test_a_bucket_fills_up_to_its_size_and_no_further() -> None:
    now = 0.0
    limit = RateLimit(10, 3, lambda: now)
    now = 1000.0
    for _ in range(3):
        limit.take("a")

    with pytest.raises(Problem) as caught:
        limit.take("a")

    assert caught.value.extra.headers["Retry-After"] == "1"


def test_buckets_are_forgotten_beyond_a_number() -> None:
    limit = RateLimit(1, 1, lambda: 0.0)
    for number in range(10_050):
        limit.take(str(number))

    assert len(limit.buckets) == 10_000


def test_a_reservation_is_given_back_also_by_an_error() -> None:
    budget = ByteBudget(10)
    with pytest.raises(ValueError, match="x"), budget.reserved(10, "a"):
        raise ValueError("x")

    assert (budget.used, budget.held) == (0, {})


def test_a_key_holds_its_share_and_its_first_body_whatever_the_size() -> None:
    budget = ByteBudget(100)
    with budget.reserved(60, "large"), budget.reserved(20, "small"):
        for name in ("large", "small"):
            with (
                pytest.raises(Problem, match="a key may hold 25") as caught,
                budget.reserved(6, name),
            ):
                pass
            assert caught.value.kind.code == "rate_limited"
        with budget.reserved(5, "small"), budget.reserved(15, "other"):
            assert budget.used == 100
            with pytest.raises(Problem, match="0 are free") as full, budget.reserved(1, "new"):
                pass
            assert full.value.kind.code == "overloaded"

    assert (budget.used, budget.held) == (0, {})
