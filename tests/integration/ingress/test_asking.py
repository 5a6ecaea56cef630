"""`POST /images/tags` and `GET /queries/{id}`."""

import asyncio
import gzip
import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from core.storage.delivery import deliveries, lanes
from core.storage.delivery.deliveries import Attempt, Settled
from core.storage.delivery.lanes import Room
from core.storage.queries import queries
from core.storage.queries.queries import QueryStatus
from ingress.auth.api_keys import Scope
from producers.queries import query_id_of
from schemas.callback import callback_id_of
from schemas.query import QuerySubmitted
from schemas.token import Token
from tests.fakes import queries as queries_fake
from tests.fakes.pictures import jpeg
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import NOW, MakeWorld, World

ASKED = {"text": "cats on the beach", "callback_url": "https://example.org/hook"}


async def ask(
    world: World, body: Any = None, key: str | None = None, **extra: Any
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key is not None else {}
    async with world.client(Scope.QUERY, owner=extra.pop("owner", "alice")) as http:
        return await http.post(
            "/images/tags", json={**ASKED, **extra} if body is None else body, headers=headers
        )


async def test_a_query_is_kept_with_its_event_and_answered_with_its_address(world: World) -> None:
    response = await ask(world, top_n=3.0, payload="link", date_from="2024-01-01T00:00:00+02:00")

    assert response.status_code == 202
    query_id = UUID(response.json()["query_id"])
    assert response.headers["location"] == f"http://archive/queries/{query_id}"
    assert response.json()["links"]["self"] == response.headers["location"]
    assert query_id.version == 7
    assert (await status_of(world, query_id)).owner == "alice"
    (record,) = world.broker.records
    event = QuerySubmitted.model_validate_json(record.value)
    assert (event.query_id, event.owner, event.text) == (query_id, "alice", ASKED["text"])
    assert (event.options.top_n, event.options.payload) == (3, "link")
    assert event.submitted_at == NOW
    assert record.topic == "queries.submitted.v1"
    assert record.key == str(query_id).encode()


async def test_the_same_idempotency_key_asks_once(world: World) -> None:
    first = await ask(world, key="order-1")
    again = await ask(world, body={**ASKED, "top_n": 1}, key="order-1")

    assert first.json()["query_id"] == again.json()["query_id"]
    assert first.json()["query_id"] == str(query_id_of("alice", "order-1"))
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(world.broker.records) == 1


async def test_an_idempotency_key_with_another_body_is_refused(world: World) -> None:
    await ask(world, key="order-1")

    response = await ask(world, key="order-1", text="dogs")

    assert "'order-1'" in problem_in(response, "idempotency_key_reused")["detail"]
    assert len(world.broker.records) == 1


async def test_two_owners_may_use_the_same_idempotency_key(world: World) -> None:
    first = await ask(world, key="order-1", owner="alice")
    second = await ask(world, key="order-1", owner="bob", text="dogs")

    assert second.status_code == 202
    assert first.json()["query_id"] != second.json()["query_id"]


def test_no_two_pairs_of_owner_and_key_make_one_identity() -> None:
    assert query_id_of("a", "b/c") != query_id_of("a/b", "c")
    assert query_id_of("1/a", "b") != query_id_of("1", "a/b")


@pytest.mark.parametrize("key", ["", "a b", "ключ".encode().decode("latin-1"), "x" * 256])
async def test_an_idempotency_key_that_cannot_be_used_is_refused(world: World, key: str) -> None:
    async with world.client(Scope.QUERY) as http:
        response = await http.post(
            "/images/tags", json=ASKED, headers=[(b"Idempotency-Key", key.encode("latin-1"))]
        )

    assert problem_in(response, "invalid_request")["errors"][0]["pointer"] == "Idempotency-Key"


async def test_a_forbidden_callback_is_refused_with_address_and_rule(world: World) -> None:
    response = await ask(world, callback_url="https://169.254.169.254/latest")

    document = problem_in(response, "callback_forbidden")
    assert "https://169.254.169.254/latest" in document["detail"]
    assert "metadata" in document["detail"]
    assert document["errors"][0]["pointer"] == "/callback_url"
    assert await world.count("queries") == 0


async def test_a_callback_that_does_not_resolve_now_is_taken(world: World) -> None:
    assert (await ask(world, callback_url="https://nowhere.example/hook")).status_code == 202
    assert world.resolver.asked == ["nowhere.example"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"txt": "cats"}, "/txt"),
        ({"text": ""}, "/text"),
        ({"text": "   "}, "/text"),
        ({"text": 7}, "/text"),
        ({"text": "cats\x00"}, "/text"),
        ({"text": "x" * 2001}, "/text"),
        ({"text": "x" * 10_001}, "/text"),
        ({"callback_url": None}, "/callback_url"),
        ({"callback_url": "https://example.org/" + "a" * 2000}, "/callback_url"),
        ({"top_n": 0}, "/top_n"),
        ({"top_n": 51}, "/top_n"),
        ({"top_n": "3"}, "/top_n"),
        ({"top_n": True}, "/top_n"),
        ({"top_n": 2.5}, "/top_n"),
        ({"min_score": -1}, "/min_score"),
        ({"date_from": "2024-01-01"}, "/date_from"),
        ({"date_from": "2024-01-01T00:00:00"}, "/date_from"),
        ({"date_from": "2024-01-02T00:00:00Z", "date_to": "2024-01-01T00:00:00Z"}, "/date_to"),
        ({"after": "not a token"}, "/after"),
        ({"payload": "email"}, "/payload"),
    ],
)
async def test_a_field_that_breaks_its_rule_is_named(
    world: World, change: dict[str, Any], pointer: str
) -> None:
    response = await ask(world, **change)

    document = problem_in(response, "invalid_request")
    assert pointer in [error["pointer"] for error in document["errors"]]
    assert await world.count("queries") == 0
    assert world.broker.records == []


async def test_the_limit_of_a_text_is_named(world: World) -> None:
    response = await ask(world, text="x" * 2001)

    assert "limit is 2000" in problem_in(response, "invalid_request")["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"text": "\\ud800", "callback_url": "https://example.org/"}',
    ],
)
async def test_a_body_that_is_no_json_is_a_400(world: World, body: bytes) -> None:
    async with world.client(Scope.QUERY) as http:
        response = await http.post(
            "/images/tags", content=body, headers={"content-type": "application/json"}
        )

    problem_in(response, "malformed_json")


async def test_a_number_that_is_none_is_refused(world: World) -> None:
    body = b'{"text": "cats", "callback_url": "https://example.org/", "min_score": NaN}'
    async with world.client(Scope.QUERY) as http:
        response = await http.post(
            "/images/tags", content=body, headers={"content-type": "application/json"}
        )

    assert response.status_code in {400, 422}
    assert await world.count("queries") == 0


@pytest.mark.parametrize("body", [b"[]", b"7", b'"text"', b"null"])
async def test_json_that_is_no_object_is_a_422(world: World, body: bytes) -> None:
    async with world.client(Scope.QUERY) as http:
        response = await http.post(
            "/images/tags", content=body, headers={"content-type": "application/json"}
        )

    problem_in(response, "invalid_request")


async def test_a_body_that_is_not_called_json_is_a_415(world: World) -> None:
    async with world.client(Scope.QUERY) as http:
        response = await http.post("/images/tags", data=ASKED)

    problem_in(response, "unsupported_media_type")


@pytest.mark.parametrize(
    ("path", "scope", "body", "content_type"),
    [
        ("/images/tags", Scope.QUERY, json.dumps(ASKED).encode(), "application/json"),
        ("/images/upload", Scope.UPLOAD, jpeg(1), "image/jpeg"),
        ("/images/upload", Scope.UPLOAD, b"--x--\r\n", "multipart/form-data; boundary=x"),
    ],
)
async def test_a_compressed_body_is_a_415_that_says_how_to_send_it(
    world: World, path: str, scope: Scope, body: bytes, content_type: str
) -> None:
    headers = {"content-type": content_type, "content-encoding": "gzip"}
    async with world.client(scope) as http:
        response = await http.post(path, content=gzip.compress(body), headers=headers)

    assert "gzip" in problem_in(response, "unsupported_media_type")["detail"]
    assert response.headers["accept-encoding"] == "identity"
    assert await world.count("images") == 0


async def test_a_json_body_over_the_limit_is_refused(make_world: MakeWorld) -> None:
    response = await ask(make_world(max_json_bytes=1024), text="x" * 2000)

    assert "1024" in problem_in(response, "body_too_large")["detail"]


async def test_the_token_of_an_upload_is_taken_as_after(world: World) -> None:
    for cluster in ("test-cluster", ""):  # the second: given out before the cluster was known
        token = Token(cluster, "images.arrived.v1", 1, 2).encode()

        await ask(world, after=token)

        event = QuerySubmitted.model_validate_json(world.broker.records[-1].value)
        assert event.options.after == token


async def test_the_token_of_another_cluster_is_refused_by_name_of_the_field(world: World) -> None:
    token = Token("elsewhere", outbox_id=3).encode()

    document = problem_in(await ask(world, after=token), "invalid_request")

    assert document["errors"][0]["pointer"] == "/after"
    assert "another Kafka cluster" in document["detail"]
    assert not world.broker.records


async def test_while_the_cluster_is_not_known_any_token_is_taken(world: World) -> None:
    world.deps.departures.cluster = ""

    answer = await ask(world, after=Token("elsewhere", outbox_id=3).encode())

    assert answer.status_code == 202


async def status_of(world: World, query_id: UUID) -> QueryStatus:
    status = await queries.status(world.pool, query_id)
    assert status is not None
    return status


async def answered_and_delivered(world: World, query_id: UUID) -> None:
    """What the query and the delivery role would write."""
    await world.pool.execute(
        "UPDATE queries SET status = 'answered', answered_at = now(),"
        """ answer = '{"type": "query.no_match"}' WHERE query_id = $1""",
        query_id,
    )
    made = queries_fake.webhook(
        callback_id_of(query_id), query_id, "alice", "example.org", ASKED["callback_url"]
    )
    async with world.pool.transaction() as tx:
        await deliveries.schedule(tx, [made])
        [lease] = await lanes.claim(tx, Room(new_target=1), token=uuid4(), lease_s=30)
        await deliveries.settle(tx, [(lease, Attempt(NOW, 12, status=200), Settled("delivered"))])


async def show(world: World, query_id: UUID | str, query: str = "", owner: str = "alice") -> Any:
    async with world.client(Scope.QUERY, owner=owner) as http:
        return await http.get(f"/queries/{query_id}{query}")


async def test_an_owner_sees_the_query_with_its_attempts(world: World) -> None:
    query_id = UUID((await ask(world)).json()["query_id"])
    await answered_and_delivered(world, query_id)

    document = (await show(world, query_id)).json()

    assert document["status"] == "answered"
    assert document["answer"] == {"type": "query.no_match"}
    assert document["deliveries"][0]["delivery_id"] == str(callback_id_of(query_id))
    assert document["deliveries"][0]["attempts"][0]["status"] == 200
    assert document["deliveries"][0]["attempts"][0]["took_ms"] == 12
    assert document["deliveries"][0]["next_at"] is None


async def test_another_owners_query_and_an_unknown_one_look_the_same(world: World) -> None:
    query_id = (await ask(world)).json()["query_id"]

    problem_in(await show(world, query_id, owner="bob"), "query_not_found")
    problem_in(await show(world, uuid4()), "query_not_found")
    problem_in(await show(world, "7"), "not_found")


async def test_an_admin_sees_every_query(world: World) -> None:
    query_id = (await ask(world)).json()["query_id"]

    async with world.client(Scope.ADMIN, owner="root") as http:
        assert (await http.get(f"/queries/{query_id}")).status_code == 200


async def test_waiting_ends_when_the_answer_is_delivered(world: World) -> None:
    query_id = UUID((await ask(world)).json()["query_id"])
    waiting = asyncio.create_task(show(world, query_id, "?wait=20"))
    await asyncio.sleep(0)
    await answered_and_delivered(world, query_id)

    async with asyncio.timeout(5):
        response = await waiting

    assert response.json()["status"] == "answered"
    assert "retry-after" not in response.headers


async def test_waiting_ends_with_its_time(world: World) -> None:
    query_id = (await ask(world)).json()["query_id"]

    response = await show(world, query_id, "?wait=0.05")

    assert response.json()["status"] == "accepted"
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("wait", ["soon", "-1", "31", "nan", "inf"])
async def test_a_wait_that_is_no_time_is_refused(world: World, wait: str) -> None:
    query_id = (await ask(world)).json()["query_id"]

    response = await show(world, query_id, f"?wait={wait}")

    assert problem_in(response, "invalid_request")["errors"][0]["pointer"] == "wait"
