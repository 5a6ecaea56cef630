"""Webhooks again, targets not for now, and addresses with secrets of their own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from consumers.delivery.adapters import StoredSecrets
from core.egress.urls import lane_of
from core.settings import SecretSettings, load
from core.storage.delivery import deliveries, endpoints, lanes, targets
from core.storage.delivery.deliveries import Attempt, Leased, Settled
from core.storage.delivery.lanes import Room
from core.storage.pool import Pool
from core.storage.queries import queries
from core.webhooks.sender import Message, WebhookSender
from core.webhooks.signing_secrets import SecretBox
from ingress import commands
from ingress.app import create_app
from ingress.auth.api_keys import Scope
from ingress.main import Opened
from schemas.callback import callback_id_of
from tests.command import run_command
from tests.fakes import queries as queries_fake
from tests.fakes.poster import PlainAnswer, RecordingPoster

URL = "https://8.8.8.8/hook"


@pytest.fixture(name="admin")
async def _admin(opened: Opened) -> AsyncIterator[httpx.AsyncClient]:
    made = await commands.create(
        commands.KeyRequest("root", scopes=(Scope.ADMIN,)), if_absent=False
    )
    assert made is not None
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(opened.deps)),
        base_url="http://archive",
        headers={"X-API-Key": made.key},
    ) as http:
        yield http


async def answered(pool: Pool, *, owner: str = "alice", host: str = "a.example") -> UUID:
    query_id = uuid4()
    url = f"https://{host}/x"
    async with pool.transaction() as tx:
        await queries.accept(
            tx, query_id=query_id, owner=owner, text="cats", callback_url=url, options={}
        )
        await queries.answer(tx, [queries_fake.answered(query_id, url)])
        webhook = queries_fake.webhook(callback_id_of(query_id), query_id, owner, lane_of(url), url)
        await deliveries.schedule(tx, [webhook])
    return query_id


async def claim(pool: Pool) -> list[Leased]:
    async with pool.transaction() as tx:
        return await lanes.claim(tx, Room(new_target=100), token=uuid4(), lease_s=30)


async def settle(pool: Pool, lease: Leased, outcome: Settled) -> None:
    tried = Attempt(datetime.now(UTC), 5, status=500)
    async with pool.transaction() as tx:
        assert await deliveries.settle(tx, [(lease, tried, outcome)])


async def test_a_webhook_that_was_given_up_goes_on_under_its_id_with_a_fresh_schedule(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    query_id = await answered(pool)
    for outcome in (Settled("due", datetime.now(UTC)), Settled("dead", reason="gone")):
        await settle(pool, (await claim(pool))[0], outcome)

    response = await client.post(f"/queries/{query_id}/redeliver")

    assert response.status_code == 202, response.text
    assert response.json()["webhook_ids"] == [str(callback_id_of(query_id))]
    lease = (await claim(pool))[0]
    assert (lease.delivery_id, lease.attempt, lease.made) == (callback_id_of(query_id), 3, 1)
    assert datetime.now(UTC) - lease.created_at < timedelta(minutes=1)
    await settle(pool, lease, Settled("delivered"))
    shown = (await client.get(f"/queries/{query_id}")).json()["deliveries"]
    assert [one["attempt"] for one in shown[0]["attempts"]] == [1, 2, 3]
    assert (shown[0]["state"], shown[0]["reason"]) == ("delivered", None)


async def test_a_delivered_webhook_asked_for_again_is_a_new_one_each_time(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    query_id = await answered(pool)
    ids = []
    for _ in range(3):
        lease = (await claim(pool))[0]
        ids.append(lease.delivery_id)
        await settle(pool, lease, Settled("delivered"))
        assert (await client.post(f"/queries/{query_id}/redeliver")).status_code == 202

    assert ids == [callback_id_of(query_id, round_number) for round_number in range(3)]


async def test_a_webhook_that_waits_for_a_retry_is_sent_at_once(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    query_id = await answered(pool)
    later = datetime.now(UTC) + timedelta(hours=6)
    await settle(pool, (await claim(pool))[0], Settled("due", later))
    assert await claim(pool) == []

    await client.post(f"/queries/{query_id}/redeliver")

    assert [lease.delivery_id for lease in await claim(pool)] == [callback_id_of(query_id)]


async def test_what_is_under_way_or_unknown_or_anothers_is_not_sent_again(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    under_way = await answered(pool)
    await claim(pool)
    foreign = await answered(pool, owner="bob")

    found = [
        (await client.post(f"/queries/{query_id}/redeliver")).json()["code"]
        for query_id in (under_way, foreign, uuid4())
    ]

    assert found == ["nothing_to_redeliver", "query_not_found", "query_not_found"]


async def test_many_are_counted_first_and_then_sent_within_the_limit_and_the_owner(
    client: httpx.AsyncClient, admin: httpx.AsyncClient, pool: Pool
) -> None:
    for host, owner in (("a.example", "alice"), ("a.example", "bob"), ("b.example", "alice")):
        for _ in range(3):
            await answered(pool, owner=owner, host=host)
    for lease in await claim(pool):
        await settle(pool, lease, Settled("dead", reason="attempts_exhausted"))
    wanted = {"filter": {"host": "A.Example"}}

    counted = (await client.post("/queries/redeliver", json=wanted | {"dry_run": True})).json()
    nothing = await claim(pool)
    some = (await client.post("/queries/redeliver", json=wanted | {"limit": 2})).json()
    sent = await claim(pool)
    everybodys = (await admin.post("/queries/redeliver", json=wanted | {"dry_run": True})).json()
    later = {"filter": {"since": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}}
    none = (await admin.post("/queries/redeliver", json=later)).json()

    assert (counted["matched"], counted["redelivered"], nothing) == ({"given_up": 3}, 0, [])
    assert some["redelivered"] == 2
    assert [(lease.target, lease.owner) for lease in sent] == [
        ("https://a.example:443", "alice")
    ] * 2
    assert everybodys["matched"] == {"given_up": 4}
    assert (none["matched"], none["redelivered"]) == ({}, 0)


async def in_each_state(client: httpx.AsyncClient, pool: Pool) -> dict[str, UUID]:
    """Return queries whose webhooks are in each state that they may wait or end in."""
    later, found = datetime.now(UTC) + timedelta(hours=6), {}
    ends = {
        "will_retry": Settled("due", later),
        "given_up": Settled("dead", reason="gone"),
        "delivered": Settled("delivered"),
        "stopped": Settled("due", later),
    }
    for state, outcome in ends.items():
        found[state] = await answered(pool)
        await settle(pool, (await claim(pool))[0], outcome)
    await client.post(f"/queries/{found['stopped']}/stop")
    found["waiting"] = await answered(pool)
    return found


async def test_a_webhooks_state_has_one_name_wherever_it_is_told_or_asked_for(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    for state, query_id in (await in_each_state(client, pool)).items():
        query = (await client.get(f"/queries/{query_id}")).json()
        listed = (await client.get("/queries", params={"state": state})).json()["queries"]
        body = {"filter": {"states": [state]}, "dry_run": True}
        counted = (await client.post("/queries/redeliver", json=body)).json()
        sent = (await client.post(f"/queries/{query_id}/redeliver")).json()

        assert (query["state"], query["deliveries"][0]["state"]) == (state, state)
        assert [one["query_id"] for one in listed] == [str(query_id)]
        assert (counted["matched"], sent["matched"]) == ({state: 1}, {state: 1})
        await pool.execute("DELETE FROM deliveries WHERE query_id = $1", query_id)
        await pool.execute("UPDATE queries SET deleted_at = now() WHERE query_id = $1", query_id)


async def test_of_many_those_that_a_person_stopped_are_sent_only_where_that_is_said(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    await in_each_state(client, pool)

    body = {"filter": {"host": "a.example"}}
    sent = (await client.post("/queries/redeliver", json=body)).json()

    assert (sent["matched"], sent["redelivered"]) == ({"given_up": 1}, 1)


@pytest.mark.parametrize("body", [{}, {"filter": {}}, {"filter": {"host": None}}])
async def test_webhooks_are_not_sent_again_unless_it_is_said_which(
    client: httpx.AsyncClient, pool: Pool, body: dict[str, Any]
) -> None:
    await in_each_state(client, pool)

    response = await client.post("/queries/redeliver", json=body)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    [error] = response.json()["errors"]
    assert error["pointer"] == "/filter"
    if "filter" in body:
        assert "host, states, since, until" in error["detail"]
    assert await claim(pool) != []
    assert await claim(pool) == []


async def test_null_is_no_condition_beside_others(client: httpx.AsyncClient) -> None:
    body = {"filter": {"host": "a.example", "until": None}}

    response = await client.post("/queries/redeliver", json=body)

    assert response.status_code == 422
    assert "until: null is no condition" in response.json()["detail"]


async def test_one_webhook_asked_for_again_with_a_key_is_sent_once(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    query_id, other = [
        (await in_each_state(client, pool))[one] for one in ("delivered", "given_up")
    ]
    key = {"Idempotency-Key": "again"}

    first = await client.post(f"/queries/{query_id}/redeliver", headers=key)
    await settle(pool, (await claim(pool))[-1], Settled("delivered"))
    again = await client.post(f"/queries/{query_id}/redeliver", headers=key)
    elsewhere = await client.post(f"/queries/{other}/redeliver", headers=key)

    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (422, "idempotency_key_reused")
    rounds = "SELECT count(*) FROM deliveries WHERE query_id = $1"
    assert await pool.fetchval(rounds, query_id) == 2


async def test_a_second_reason_is_kept_with_who_gave_it_and_a_breakers_is_not(
    admin: httpx.AsyncClient, pool: Pool
) -> None:
    async def told(change: str, reason: str) -> tuple[str, str, str | None]:
        path = f"/targets/https/a.example/443/{change}"
        [shown] = (await admin.post(path, json={"reason": reason})).json()["targets"]
        return shown["reason"], shown["actor"], shown["disabled_at"]

    target = "https://a.example:443"
    async with pool.transaction() as tx:
        assert await targets.disable(tx, target, actor="ann", reason="a pause")
    _, _, since = await told("disable", "")
    assert await told("disable", "they move house") == ("they move house", "root", since)
    async with pool.transaction() as tx:
        assert not await targets.disable(tx, target, actor="breaker", reason="it failed")
    assert await told("disable", "") == ("they move house", "root", since)
    assert await told("resume", "they are back") == ("they are back", "root", None)
    assert await told("resume", "in their new house") == ("in their new house", "root", None)

    events = await pool.fetch("SELECT event, actor, reason FROM target_events ORDER BY id")
    assert [tuple(row) for row in events] == [
        ("disabled", "ann", "a pause"),
        ("disabled", "root", "they move house"),
        ("resumed", "root", "they are back"),
        ("resumed", "root", "in their new house"),
    ]


async def test_a_target_is_disabled_and_resumed_by_an_administrator_alone(
    client: httpx.AsyncClient, admin: httpx.AsyncClient, pool: Pool
) -> None:
    await answered(pool)
    refused = await client.post("/targets/https/a.example/443/disable", json={"reason": "no"})

    disabled = await admin.post(
        "/targets/https/A.Example/443/disable", json={"reason": "they asked"}
    )
    held = await claim(pool)
    other = await admin.post("/targets/https/a.example/8443/resume", json={})
    still_held = await claim(pool)
    resumed = await admin.post("/targets/https/a.example/443/resume", json={})

    assert refused.json()["code"] == "scope_missing"
    shown = disabled.json()["targets"][0]
    assert (shown["target"], shown["is_disabled"]) == ("https://a.example:443", True)
    assert (shown["actor"], shown["reason"], shown["waiting"]) == ("root", "they asked", 1)
    assert (held, still_held) == ([], [])
    assert other.json()["targets"][0]["target"] == "https://a.example:8443"
    assert other.json()["targets"][0]["state"] == "open", "another port is another target"
    assert resumed.json()["targets"][0]["is_disabled"] is False
    assert len(await claim(pool)) == 1
    for path in ("https/a b/443", "ftp/a.example/21", "https/a.example/0", "https/a@b/443"):
        wrong = await admin.post(f"/targets/{path}/disable", json={})
        assert (wrong.status_code, wrong.json()["code"]) == (404, "target_not_found"), path


async def test_a_registered_address_is_signed_with_its_own_secret_and_no_other(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    made = await client.post("/endpoints", json={"url": URL, "name": "shop"})
    again = await client.post("/endpoints", json={"url": URL})
    forbidden = await client.post("/endpoints", json={"url": "https://169.254.169.254/"})
    listed = (await client.get("/endpoints")).json()["endpoints"]

    secrets = StoredSecrets(pool, SecretBox.from_settings(load(SecretSettings)))
    own = await secrets.of("alice", URL)
    others = await secrets.of("alice", "https://8.8.8.8/other")
    bobs = await secrets.of("bob", URL)

    assert made.status_code == 201, made.text
    assert own == (made.json()["signing_secret"],)
    assert len({own, others, bobs}) == 3
    assert again.json()["code"] == "endpoint_exists"
    assert forbidden.json()["code"] == "callback_forbidden"
    assert forbidden.json()["errors"][0]["pointer"] == "/url"
    assert [(one["url"], "signing_secret" in one) for one in listed] == [(URL, False)]


@pytest.mark.parametrize("endpoint", [False, True])
async def test_receivers_with_the_old_and_the_new_secret_both_verify_while_it_is_changed(
    client: httpx.AsyncClient, pool: Pool, *, endpoint: bool
) -> None:
    registered = (await client.post("/endpoints", json={"url": URL})).json()
    url = URL if endpoint else "https://8.8.8.8/other"
    owner = endpoints.secrets_owner(UUID(registered["endpoint_id"])) if endpoint else "alice"
    box = SecretBox.from_settings(load(SecretSettings))
    old = (await StoredSecrets(pool, box).of("alice", url))[0]
    new = await commands.rotate_secret(owner)

    poster = RecordingPoster(PlainAnswer(204))
    sender = WebhookSender(poster, timeout_s=5)
    both = await StoredSecrets(pool, box).of("alice", url)
    await sender.send(Message(uuid4(), url, b"{}", both), now=datetime.now(UTC))
    await pool.execute("UPDATE signing_secrets SET expires_at = now() WHERE expires_at > now()")
    after = await StoredSecrets(pool, box).of("alice", url)
    await sender.send(Message(uuid4(), url, b"{}", after), now=datetime.now(UTC))

    during, afterwards = (dict(posted.headers) for posted in poster.posted)
    assert list(both) == [new, old]
    for secret in (old, new):
        Webhook(secret).verify(b"{}", during)
    Webhook(new).verify(b"{}", afterwards)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(b"{}", afterwards)


async def test_the_command_line_does_the_same(pool: Pool) -> None:
    query_id = await answered(pool)
    await settle(pool, (await claim(pool))[0], Settled("dead", reason="gone"))

    counted = run_command("deliveries", "redeliver", "--host", "a.example", "--dry-run")
    target = "https://a.example:443"
    disabled = run_command("targets", "disable", target, "--reason", "a pause")
    sent = run_command("deliveries", "redeliver", "--query", str(query_id))
    held = await claim(pool)
    listed = run_command("targets", "list")
    resumed = run_command("targets", "resume", target)
    nothing = run_command("deliveries", "redeliver", "--state", "given_up")
    unsaid = run_command("deliveries", "redeliver")

    assert counted.stdout == "match: 1 given_up\n", counted.stderr
    assert disabled.stdout == f"{target}: disabled\n"
    assert sent.stdout.endswith("due now: 1 under their ids, 0 as new webhooks\n")
    assert held == []
    assert "disabled  by operator" in listed.stdout
    assert '"a pause"  waiting: 1' in listed.stdout
    assert resumed.stdout == f"{target}: resumed\n"
    assert len(await claim(pool)) == 1
    assert nothing.returncode == 1
    assert unsaid.returncode == 2
    assert "--state" in unsaid.stderr
