"""Callback addresses are removed: their secrets go, and what waited for them is given up."""

import json
from uuid import UUID, uuid4

import httpx

from consumers.delivery.adapters import StoredSecrets
from core.settings import SecretSettings, load
from core.storage.delivery import deliveries, endpoints, lanes
from core.storage.delivery.lanes import Room
from core.storage.pool import Pool
from core.storage.queries import queries
from core.webhooks.signing_secrets import SecretBox
from ingress import commands
from ingress.app import create_app
from ingress.auth.api_keys import Scope
from ingress.main import Opened
from schemas.callback import callback_id_of, host_of
from tests.command import run_command
from tests.fakes import queries as queries_fake

URL = "https://8.8.8.8/hook"
OTHER = "https://8.8.8.8/other"


async def waiting(pool: Pool, url: str, *, owner: str = "alice") -> UUID:
    """A query whose webhook is due."""
    query_id = uuid4()
    async with pool.transaction() as tx:
        await queries.accept(
            tx, query_id=query_id, owner=owner, text="cats", callback_url=url, options={}
        )
        await queries.answer(tx, [queries_fake.answered(query_id, url)])
        new = queries_fake.webhook(callback_id_of(query_id), query_id, owner, host_of(url), url)
        await deliveries.schedule(tx, [new])
    return query_id


async def states(pool: Pool) -> dict[UUID, tuple[str, str | None]]:
    rows = await pool.fetch("SELECT query_id, state, reason FROM deliveries")
    return {row["query_id"]: (row["state"], row["reason"]) for row in rows}


async def register(client: httpx.AsyncClient, url: str = URL) -> str:
    made = await client.post("/endpoints", json={"url": url})
    assert made.status_code == 201, made.text
    return str(made.json()["endpoint_id"])


async def test_what_waits_for_a_removed_address_is_given_up_and_can_be_sent_again(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    endpoint_id = await register(client)
    own, elsewhere, bobs = (
        await waiting(pool, URL),
        await waiting(pool, OTHER),
        await waiting(pool, URL, owner="bob"),
    )

    removed = await client.delete(f"/endpoints/{endpoint_id}")
    after = await states(pool)
    again = await client.post(f"/queries/{own}/redeliver")

    assert (removed.status_code, removed.json()["given_up"]) == (200, 1)
    assert removed.json()["url"] == URL
    assert after == {
        own: ("dead", "endpoint_removed"),
        elsewhere: ("due", None),
        bobs: ("due", None),
    }
    assert again.status_code == 202, again.text
    assert (await states(pool))[own] == ("due", None)
    assert (await client.get("/endpoints")).json()["endpoints"] == []


async def test_what_is_under_way_to_a_removed_address_comes_to_its_end(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    endpoint_id, query_id = await register(client), await waiting(pool, URL)
    async with pool.transaction() as tx:
        await lanes.claim(tx, Room(new_target=1), token=uuid4(), lease_s=30)

    removed = await client.delete(f"/endpoints/{endpoint_id}")

    assert removed.json()["given_up"] == 0
    assert (await states(pool))[query_id] == ("leased", None)


async def test_a_removed_address_is_signed_for_with_the_owners_own_secret(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    box = SecretBox.from_settings(load(SecretSettings))
    owners = await StoredSecrets(pool, box).of("alice", URL)
    endpoint_id = await register(client)
    registered = await StoredSecrets(pool, box).of("alice", URL)

    await client.delete(f"/endpoints/{endpoint_id}")

    assert registered != owners
    assert await StoredSecrets(pool, box).of("alice", URL) == owners
    name = endpoints.secrets_owner(UUID(endpoint_id))
    count = "SELECT count(*) FROM signing_secrets WHERE owner = $1"
    assert await pool.fetchval(count, name) == 0


async def test_another_owners_address_and_an_unknown_one_are_not_there(
    client: httpx.AsyncClient, opened: Opened
) -> None:
    endpoint_id = await register(client)
    bob = await commands.create(commands.KeyRequest("bob", scopes=(Scope.QUERY,)), if_absent=False)
    assert bob is not None
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(opened.deps)),
        base_url="http://archive",
        headers={"X-API-Key": bob.key},
    ) as bobs:
        refused = await bobs.delete(f"/endpoints/{endpoint_id}")
    unknown = await client.delete(f"/endpoints/{uuid4()}")

    assert refused.json()["code"] == unknown.json()["code"] == "endpoint_not_found"
    assert len((await client.get("/endpoints")).json()["endpoints"]) == 1


async def test_the_command_line_lists_and_removes(client: httpx.AsyncClient, pool: Pool) -> None:
    endpoint_id = await register(client)
    await waiting(pool, URL)

    listed = json.loads(run_command("endpoints", "list", "--json").stdout)
    removed = run_command("endpoints", "remove", endpoint_id)
    again = run_command("endpoints", "remove", endpoint_id)

    assert [(one["endpoint_id"], one["owner"]) for one in listed] == [(endpoint_id, "alice")]
    assert removed.stdout == f"removed {URL}; webhooks given up: 1\n", removed.stderr
    assert again.returncode == 1
    assert f"no endpoint {endpoint_id}" in again.stderr


async def test_a_secret_of_an_unknown_address_is_not_made(pool: Pool) -> None:
    unknown = uuid4()

    done = run_command("keys", "signing-secret", "--endpoint", str(unknown))

    assert (done.returncode, done.stdout) == (1, "")
    assert f"no endpoint {unknown}" in done.stderr
    assert await pool.fetchval("SELECT count(*) FROM signing_secrets") == 0


async def test_a_registered_address_gets_a_new_secret_by_the_command_line(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    endpoint_id = await register(client)

    done = run_command("keys", "signing-secret", "--endpoint", endpoint_id, "--json")

    secret = json.loads(done.stdout)["signing_secret"]
    box = SecretBox.from_settings(load(SecretSettings))
    assert (await StoredSecrets(pool, box).of("alice", URL))[0] == secret


async def test_only_an_administrator_has_an_address_told_of_the_archive_itself(
    client: httpx.AsyncClient,
) -> None:
    body = {"url": URL, "operator_events": True}
    refused = await client.post("/endpoints", json=body)
    admin = await commands.create(
        commands.KeyRequest("ops", scopes=(Scope.ADMIN,)), if_absent=False
    )
    assert admin is not None
    made = await client.post("/endpoints", json=body, headers={"X-API-Key": admin.key})

    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert (made.status_code, made.json()["operator_events"]) == (201, True)
