"""`GET /queries` and `DELETE /queries/{id}` on real PostgreSQL."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from core.storage.delivery import deliveries, lanes
from core.storage.delivery.lanes import Room
from core.storage.pool import Pool
from core.storage.queries import queries, query_looks
from core.storage.queries.query_looks import QueryFilter
from ingress.auth.api_keys import Scope
from ingress.main import Opened
from schemas.callback import callback_id_of
from tests.fakes import queries as queries_fake
from tests.integration.ingress.conftest import client_of

URL = "https://8.8.8.8/hook"
BEFORE_ALL_CALENDARS = (
    base64.urlsafe_b64encode(f"0001-01-01T00:00:00+23:59 {UUID(int=0)}".encode())
    .decode()
    .rstrip("=")
)
ASKED = {"text": "cats", "callback_url": URL}


async def ask(client: httpx.AsyncClient, key: str | None = None, **fields: object) -> UUID:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await client.post("/images/tags", json={**ASKED, **fields}, headers=headers)
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["query_id"])


async def answer(pool: Pool, query_id: UUID, kind: str = "query.completed") -> None:
    await pool.execute(
        "UPDATE queries SET status = 'answered', answered_at = now(),"
        " answer = jsonb_build_object('type', $2::text) WHERE query_id = $1",
        query_id,
        kind,
    )


async def schedule(pool: Pool, *query_ids: UUID) -> None:
    async with pool.transaction() as tx:
        await deliveries.schedule(
            tx,
            [
                queries_fake.webhook(callback_id_of(one), one, "alice", "8.8.8.8", URL)
                for one in query_ids
            ],
        )


async def page(client: httpx.AsyncClient, **parameters: str) -> dict[str, Any]:
    found = await client.get("/queries", params=parameters)
    assert found.status_code == 200, found.text
    shown: dict[str, Any] = found.json()
    return shown


def ids(shown: dict[str, Any]) -> list[UUID]:
    return [UUID(one["query_id"]) for one in shown["queries"]]


async def test_an_owner_sees_their_own_queries_and_an_administrator_all(
    client: httpx.AsyncClient, opened: Opened, pool: Pool
) -> None:
    async with (
        await client_of(opened, "bob", Scope.QUERY) as bobs,
        await client_of(opened, "root", Scope.ADMIN) as admin,
    ):
        mine, theirs = await ask(client), await ask(bobs)
        direct = uuid4()
        await pool.execute(
            "INSERT INTO queries (query_id, text, callback_url, status)"
            " VALUES ($1, 't', 'u', 'accepted')",
            direct,
        )

        assert ids(await page(client)) == [mine]
        assert ids(await page(bobs)) == [theirs]
        assert ids(await page(admin)) == [direct, theirs, mine]


async def test_what_is_listed_says_what_came_of_it(client: httpx.AsyncClient, pool: Pool) -> None:
    query_id = await ask(client, text="cats", top_n=3)
    before = (await page(client))["queries"]
    await answer(pool, query_id, "query.no_match")

    [after] = (await page(client))["queries"]

    assert (before[0]["status"], before[0]["outcome"]) == ("accepted", None)
    assert (after["status"], after["outcome"]) == ("answered", "query.no_match")
    assert (after["text"], after["callback_url"], after["options"]) == ("cats", URL, {"top_n": 3})
    assert after["links"] == {"self": f"http://archive/queries/{query_id}"}
    assert after["answered_at"] is not None


async def test_only_what_a_filter_names_is_listed(client: httpx.AsyncClient, pool: Pool) -> None:
    first, second, third = [await ask(client) for _ in range(3)]
    await answer(pool, first)
    await pool.execute("UPDATE queries SET status = 'waiting' WHERE query_id = $1", second)
    at = await pool.fetchval("SELECT accepted_at FROM queries WHERE query_id = $1", second)

    assert ids(await page(client, status="answered")) == [first]
    assert ids(await page(client, status="waiting")) == [second]
    assert ids(await page(client, status="accepted")) == [third]
    assert ids(await page(client, **{"from": at.isoformat()})) == [third, second]
    assert ids(await page(client, to=at.isoformat())) == [first]


async def test_pages_hold_every_query_once_while_others_arrive_and_are_answered(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    there = [await ask(client) for _ in range(7)]
    # Some at the very same moment: the id tells them apart.
    await pool.execute(
        "UPDATE queries SET accepted_at = $2 WHERE query_id = ANY($1)",
        there[2:5],
        datetime.now(UTC) - timedelta(days=1),
    )
    expected = sorted(there[5:] + there[:2], key=there.index, reverse=True)
    expected += sorted(there[2:5], reverse=True)

    seen: list[UUID] = []
    shown = await page(client, limit="2")
    while True:
        seen += ids(shown)
        if shown["next"] is None:
            break
        await ask(client)
        await answer(pool, seen[-1])
        shown = await page(client, limit="2", cursor=str(shown["next"]))

    assert seen == expected


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"status": "done"}, "status"),
        ({"from": "yesterday"}, "from"),
        ({"cursor": BEFORE_ALL_CALENDARS}, "cursor"),
        ({"cursor": "eA"}, "cursor"),
        ({"limit": "201"}, "limit"),
        ({"owner": "bob"}, "owner"),
    ],
)  # fmt: skip
async def test_a_parameter_that_breaks_its_rule_is_named(
    client: httpx.AsyncClient, parameters: dict[str, str], name: str
) -> None:
    answer = await client.get("/queries", params=parameters)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [one["pointer"] for one in answer.json()["errors"]] == [name]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (QueryFilter(owner="o7"), "queries_of_owner"),
        (QueryFilter(owner="o7", before=(datetime.now(UTC), UUID(int=9))), "queries_of_owner"),
        (QueryFilter(owner="o7", status="answered"), "queries_of_owner"),
        (QueryFilter(), "queries_accepted"),
        (QueryFilter(status="waiting"), "queries_unanswered"),
        (
            QueryFilter(status="accepted", since=datetime(2020, 1, 1, tzinfo=UTC)),
            "queries_unanswered",
        ),
        (QueryFilter(outcome="query.no_match"), "queries_unusual"),
        (QueryFilter(state="given_up"), "deliveries_open"),
        (QueryFilter(state="will_retry", host="h"), "deliveries_open"),
        (QueryFilter(by_next_attempt=True), "deliveries_next"),
        (QueryFilter(text="x", state="delivered"), "queries_accepted"),
    ],
)
async def test_a_page_is_read_by_an_index_in_its_order(
    pool: Pool, wanted: QueryFilter, index: str
) -> None:
    await pool.execute(
        "INSERT INTO queries (query_id, owner, text, callback_url, status, accepted_at)"
        " SELECT gen_random_uuid(), 'o' || n % 100, 't', 'u',"
        "        CASE n % 500 WHEN 0 THEN 'waiting' WHEN 1 THEN 'accepted' ELSE 'answered' END,"
        "        now() - n * interval '1 second' FROM generate_series(1, 20000) n"
    )
    await pool.execute(
        "INSERT INTO deliveries (delivery_id, query_id, owner, target, url, event, state, attempt,"
        "                        next_at, created_at)"
        " SELECT query_id, query_id, owner, 'https://h:443', 'u', '{}',"
        "        (ARRAY['due', 'dead', 'delivered'])[1 + abs(hashtext(owner)) % 3], 1,"
        "        accepted_at, accepted_at FROM queries"
    )
    await pool.execute("ANALYZE queries, deliveries")
    query, arguments = query_looks.statement(wanted, 51)

    plan = "\n".join(row[0] for row in await pool.fetch(f"EXPLAIN {query}", *arguments))

    assert f"using {index}" in plan
    if "Incremental Sort" not in plan:  # of what came in one moment
        assert "Sort" not in plan
    assert "Seq Scan on queries" not in plan
    assert "Seq Scan on deliveries" not in plan


@pytest.mark.parametrize("owner", [None, "o7"])
async def test_the_answers_that_an_image_is_are_read_by_their_index(
    pool: Pool, owner: str | None
) -> None:
    image_id = UUID(int=7)
    await pool.execute(
        "INSERT INTO queries (query_id, owner, text, callback_url, status, answer, accepted_at)"
        " SELECT gen_random_uuid(), 'o' || n % 100, 't', 'u', 'answered',"
        "        jsonb_build_object('type', 'query.completed', 'image_id',"
        "                           CASE WHEN n % 100 = 7 THEN $1 ELSE gen_random_uuid() END),"
        "        now() - n * interval '1 second' FROM generate_series(1, 20000) n",
        image_id,
    )
    await pool.execute("ANALYZE queries")
    query, arguments = query_looks.statement(QueryFilter(image_id=image_id, owner=owner), 51)

    plan = "\n".join(row[0] for row in await pool.fetch(f"EXPLAIN {query}", *arguments))

    assert "queries_of_image" in plan
    assert "Seq Scan on queries" not in plan
    assert len(await pool.fetch(query, *arguments)) == 51


async def test_a_deleted_query_is_gone_with_its_webhooks_and_its_words(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    query_id, other = await ask(client), await ask(client)
    await schedule(pool, query_id, other)

    deleted = await client.delete(f"/queries/{query_id}")

    assert (deleted.status_code, deleted.json()["withdrawn"]) == (200, 1), deleted.text
    for gone in (
        await client.get(f"/queries/{query_id}"),
        await client.post(f"/queries/{query_id}/redeliver"),
        await client.delete(f"/queries/{query_id}"),
    ):
        assert (gone.status_code, gone.json()["code"]) == (404, "query_not_found")
    assert ids(await page(client)) == [other]
    left = await pool.fetch("SELECT query_id FROM deliveries")
    assert [row["query_id"] for row in left] == [other]
    row = await pool.fetchrow("SELECT * FROM queries WHERE query_id = $1", query_id)
    assert row is not None
    assert (row["owner"], row["text"], row["callback_url"], row["answer"]) == (None, "", "", None)


async def test_another_owners_query_and_an_unknown_one_cannot_be_deleted(
    client: httpx.AsyncClient, opened: Opened
) -> None:
    query_id = await ask(client)
    async with (
        await client_of(opened, "bob", Scope.QUERY) as bobs,
        await client_of(opened, "root", Scope.ADMIN) as admin,
    ):
        refused = await bobs.delete(f"/queries/{query_id}")
        unknown = await bobs.delete(f"/queries/{uuid4()}")
        still = await client.get(f"/queries/{query_id}")
        by_admin = await admin.delete(f"/queries/{query_id}")

    assert (refused.status_code, unknown.status_code) == (404, 404)
    assert refused.json()["title"] == unknown.json()["title"]
    assert (still.status_code, by_admin.status_code) == (200, 200)


async def test_the_key_of_a_deleted_query_stays_used(client: httpx.AsyncClient) -> None:
    query_id = await ask(client, "order-7")
    await client.delete(f"/queries/{query_id}")

    again = await client.post("/images/tags", json=ASKED, headers={"Idempotency-Key": "order-7"})

    assert (again.status_code, again.json()["code"]) == (422, "idempotency_key_reused")
    assert "was deleted" in again.json()["detail"]
    assert await ask(client, "order-8") != query_id


async def test_what_is_being_sent_comes_to_its_end_and_counts_as_no_withdrawal(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    query_id = await ask(client)
    await schedule(pool, query_id)
    async with pool.transaction() as tx:
        [lease] = await lanes.claim(tx, Room(new_target=1), token=uuid4(), lease_s=30)

    deleted = await client.delete(f"/queries/{query_id}")

    assert deleted.json()["withdrawn"] == 0
    tried = deliveries.Attempt(datetime.now(UTC), 12, status=200)
    async with pool.transaction() as tx:
        settled = await deliveries.settle(tx, [(lease, tried, deliveries.Settled("delivered"))])
    assert settled == set()
    assert await pool.fetchval("SELECT count(*) FROM attempts") == 0
    assert await queries.status(pool, query_id) is None
