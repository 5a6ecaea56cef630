"""`GET /queries` by text, host, outcome, state and next attempt; redelivery that acts once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from core.storage.delivery import deliveries, interventions
from core.storage.delivery.deliveries import Settled
from core.storage.pool import Pool
from core.storage.queries import query_looks, query_pages
from core.storage.queries.query_looks import QueryFilter
from ingress.auth.api_keys import Scope
from tests.integration.ingress.page.test_attempts import FAILED, answered, claim, fail
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import World


async def end(pool: Pool, outcome: Settled) -> None:
    lease = await claim(pool)
    async with pool.transaction() as tx:
        await deliveries.settle(tx, [(lease, FAILED, outcome)])


async def listed(http: httpx.AsyncClient, **wanted: str) -> list[UUID]:
    answer = await http.get("/queries", params=wanted)
    assert answer.status_code == 200, answer.text
    return [UUID(query["query_id"]) for query in answer.json()["queries"]]


async def one_of_each(pool: Pool) -> dict[str, UUID]:
    """A query in each state, the oldest first."""
    made = {"delivered": await answered(pool)}
    await end(pool, Settled("delivered"))
    made["given_up"] = await answered(pool, host="b.example")
    await end(pool, Settled("dead", reason="gone"))
    made["stopped"] = await answered(pool)
    async with pool.transaction() as tx:
        await interventions.stop(tx, made["stopped"], by="alice")
    made["will_retry"] = await answered(pool)
    await fail(pool)
    made["in_flight"] = await answered(pool)
    await claim(pool)
    made["waiting"] = await answered(pool)
    return made


async def test_queries_are_listed_by_what_happens_next(world: World) -> None:
    made = await one_of_each(world.pool)
    async with world.client(Scope.QUERY) as http, world.client(Scope.QUERY, owner="bob") as bob:
        for state, query_id in made.items():
            assert await listed(http, state=state) == [query_id], state
            assert await listed(bob, state=state) == []
        every = (await http.get("/queries")).json()["queries"]

    assert {query["state"]: UUID(query["query_id"]) for query in every} == made
    retried = next(query for query in every if query["state"] == "will_retry")
    assert (retried["attempts"], retried["waits_for"]) == (1, "schedule")
    assert retried["next_at"] == retried["waits_until"]


async def test_queries_are_listed_by_text_host_and_outcome(world: World) -> None:
    made = await one_of_each(world.pool)
    await world.pool.execute(
        "UPDATE queries SET text = 'КОШКИ 100%_' WHERE query_id = $1", made["stopped"]
    )
    async with world.client(Scope.QUERY) as http:
        assert await listed(http, text="кошк") == [made["stopped"]]
        assert await listed(http, text="%") == [made["stopped"]]
        assert await listed(http, text="dog") == []
        assert await listed(http, host="B.example") == [made["given_up"]]
        assert len(await listed(http, outcome="no_match")) == 6
        assert await listed(http, outcome="completed") == []
        assert await listed(http, outcome="none") == []
        assert await listed(http, state="given_up", host="a.example") == []
        assert await listed(http, state="given_up", outcome="no_match") == [made["given_up"]]


async def test_the_answers_that_an_image_is_are_listed_with_their_deliveries(world: World) -> None:
    image_id = uuid4()
    delivered = await answered(world.pool, image_id=image_id)
    await end(world.pool, Settled("delivered"))
    given_up = await answered(world.pool, image_id=image_id)
    await end(world.pool, Settled("dead", reason="gone"))
    other = await answered(world.pool, image_id=image_id)
    await fail(world.pool)
    await answered(world.pool, image_id=uuid4())
    await answered(world.pool, owner="bob", image_id=image_id)
    async with world.client(Scope.QUERY) as http:
        found = (await http.get("/queries", params={"image": str(image_id)})).json()["queries"]
        assert await listed(http, image=str(image_id), state="given_up") == [given_up]
        assert await listed(http, image=str(image_id), state="delivered") == [delivered]
        assert await listed(http, image=str(image_id), order="next_at") == [other]
        assert await listed(http, image=str(uuid4())) == []
        wrong = await http.get("/queries", params={"image": "a photo"})

    assert [UUID(one["query_id"]) for one in found] == [other, given_up, delivered]
    assert [bool(one["finished_at"]) for one in found] == [False, True, True]
    assert problem_in(wrong, "invalid_request")["errors"][0]["pointer"] == "image"


@pytest.mark.parametrize(
    "wanted",
    [{}, {"state": "given_up"}, {"state": "waiting"}, {"text": "cats"}, {"by_next_attempt": True},
     {"outcome": "query.completed"}],
    ids=str,
)  # fmt: skip
async def test_no_page_goes_on_behind_a_query_of_somebody_else(
    world: World, wanted: dict[str, Any]
) -> None:
    image_id = uuid4()
    for _ in range(3):
        await answered(world.pool, owner="bob", image_id=image_id)

    found = await query_pages.page(
        world.pool, QueryFilter(owner="alice", image_id=image_id, **wanted), 10, budget=3
    )

    assert (found.queries, found.next) == ([], None)


async def test_a_query_without_a_webhook_has_the_host_of_its_address(world: World) -> None:
    async with world.client(Scope.QUERY) as http:
        url = "https://EXAMPLE.org/hook"
        await http.post("/images/tags", json={"text": "cat", "callback_url": url})
        [query] = (await http.get("/queries", params={"host": "example.org"})).json()["queries"]

    assert (query["host"], query["state"], query["attempts"]) == ("example.org", "waiting", 0)


async def test_what_waits_for_an_attempt_is_listed_the_next_one_first(world: World) -> None:
    ids = []
    for after_s in (300, 100, 200):
        ids.append(await answered(world.pool))
        await fail(world.pool, after_s=after_s)
    async with world.client(Scope.QUERY) as http:
        first = await http.get("/queries", params={"order": "next_at", "limit": "2"})
        rest = await listed(http, order="next_at", cursor=first.json()["next"])

    seen = [UUID(query["query_id"]) for query in first.json()["queries"]]
    assert (seen, rest) == ([ids[1], ids[2]], [ids[0]])


@pytest.mark.parametrize("state", ["waiting", "will_retry"])
async def test_pages_of_rare_ones_look_at_a_bounded_number_and_go_on(
    world: World, state: query_looks.State
) -> None:
    rare = await answered(world.pool)
    if state == "will_retry":
        await fail(world.pool)
    await world.pool.execute("UPDATE deliveries SET next_at = now() + interval '1 day'")
    for _ in range(7):
        await answered(world.pool)
        await end(world.pool, Settled("dead", reason="gone"))
    wanted, pages = QueryFilter(state=state), []
    while True:
        page = await query_pages.page(world.pool, wanted, 10, budget=3)
        pages.append([one.query_id for one in page.queries])
        if page.next is None:
            break
        wanted = replace(wanted, before=page.next)
    counted = await query_pages.count(world.pool, QueryFilter(state=state), budget=3)

    assert pages == [[], [], [rare]]
    assert (counted.queries, counted.is_exact) == (0, False)


async def test_totals_are_those_of_all_pages(world: World) -> None:
    await one_of_each(world.pool)
    async with world.client(Scope.QUERY) as http:

        async def total(**wanted: str) -> dict[str, Any]:
            page = await http.get("/queries", params={"total": "true", "limit": "1", **wanted})
            found: dict[str, Any] = page.json()["total"]
            return found

        assert await total() == {"queries": 6, "is_exact": True}
        assert await total(state="given_up") == {"queries": 1, "is_exact": True}
        assert await total(text="cats") == {"queries": 6, "is_exact": True}
        assert (await http.get("/queries")).json()["total"] is None


async def test_a_webhook_of_an_earlier_round_says_nothing_of_its_query(world: World) -> None:
    query_id = await answered(world.pool)
    await end(world.pool, Settled("delivered"))
    async with world.client(Scope.QUERY) as http:
        await http.post(f"/queries/{query_id}/redeliver")
        assert await listed(http, state="delivered") == []
        assert await listed(http, state="waiting") == [query_id]
        await end(world.pool, Settled("dead", reason="gone"))
        assert await listed(http, state="given_up") == [query_id]


@pytest.mark.parametrize(
    "wanted",
    [{"state": "lost"}, {"outcome": "x"}, {"order": "x"}, {"total": "1"}, {"text": ""},
     {"text": "x" * 201}, {"host": "a b"}],
)  # fmt: skip
async def test_a_filter_that_cannot_be_is_refused(world: World, wanted: dict[str, str]) -> None:
    async with world.client(Scope.QUERY) as http:
        problem_in(await http.get("/queries", params=wanted), "invalid_request")


async def test_the_two_ways_to_name_a_state_agree(world: World) -> None:
    made = await one_of_each(world.pool)
    for state, query_id in made.items():
        page = await query_pages.page(world.pool, QueryFilter(state=state), 10)  # type: ignore[arg-type]
        assert [one.query_id for one in page.queries] == [query_id]
        row = await world.pool.fetchrow(
            "SELECT state, attempt, reason FROM deliveries WHERE query_id = $1", query_id
        )
        assert row is not None
        assert query_pages.state_of(*row) == state


async def test_a_redelivery_with_a_key_acts_once_and_counts_as_its_dry_run(world: World) -> None:
    for _ in range(3):
        await answered(world.pool)
        await end(world.pool, Settled("dead", reason="gone"))
    async with world.client(Scope.QUERY) as http:
        body = {"filter": {"host": "a.example"}}
        dry = await http.post("/queries/redeliver", json={**body, "dry_run": True})
        key, unlike = {"Idempotency-Key": "again-1"}, {"filter": {"states": ["stopped"]}}
        first = await http.post("/queries/redeliver", json=body, headers=key)
        await world.pool.execute(
            "UPDATE deliveries SET state = 'dead', finished_at = $1", datetime.now(UTC)
        )
        again = await http.post("/queries/redeliver", json=body, headers=key)
        other = await http.post("/queries/redeliver", json=unlike, headers=key)
        due = await world.pool.fetchval("SELECT count(*) FROM deliveries WHERE state = 'due'")

    assert sum(dry.json()["matched"].values()) == first.json()["redelivered"] == 3
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    problem_in(other, "idempotency_key_reused")
    assert due == 0


async def test_a_replay_with_a_key_acts_once_and_one_under_way_is_waited_for(world: World) -> None:
    async with world.client(Scope.ADMIN) as http:
        body = {"topic": "images.arrived.v1"}
        key = {"Idempotency-Key": "replay-1"}
        first = await http.post("/dead-letters/replay", json=body, headers=key)
        again = await http.post("/dead-letters/replay", json=body, headers=key)
        await world.pool.execute("UPDATE asked_once SET answer = NULL")
        waiting = await http.post("/dead-letters/replay", json=body, headers=key)
        long_ago = datetime.now(UTC) - timedelta(minutes=2)
        await world.pool.execute("UPDATE asked_once SET asked_at = $1", long_ago)
        taken_over = await http.post("/dead-letters/replay", json=body, headers=key)

    assert first.status_code == 200, first.text
    assert again.headers["idempotency-replayed"] == "true"
    problem_in(waiting, "under_way")
    assert taken_over.status_code == 200
    assert "idempotency-replayed" not in taken_over.headers
