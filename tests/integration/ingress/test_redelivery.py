"""Webhooks again, targets not for now, and addresses with secrets of their own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from consumers.delivery.adapters import StoredSecrets
from core.egress.urls import lane_of
from core.settings import SecretSettings, load
from core.storage.delivery import deliveries, endpoints, lanes
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

    assert (counted["matched"], counted["redelivered"], nothing) == ({"dead": 3}, 0, [])
    assert some["redelivered"] == 2
    assert [(lease.target, lease.owner) for lease in sent] == [
        ("https://a.example:443", "alice")
    ] * 2
    assert everybodys["matched"] == {"dead": 4}
    assert (none["matched"], none["redelivered"]) == ({}, 0)


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
    nothing = run_command("deliveries", "redeliver")

    assert counted.stdout == "match: 1 dead\n", counted.stderr
    assert disabled.stdout == f"{target}: disabled\n"
    assert sent.stdout.endswith("due now: 1 under their ids, 0 as new webhooks\n")
    assert held == []
    assert "disabled  by operator" in listed.stdout
    assert '"a pause"  waiting: 1' in listed.stdout
    assert resumed.stdout == f"{target}: resumed\n"
    assert len(await claim(pool)) == 1
    assert nothing.returncode == 1
