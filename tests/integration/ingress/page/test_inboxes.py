"""The receiver in the box: what it shows, checks and answers; who may post to it."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from core.egress.client import open_client
from core.egress.own_ports import inbox_prefix, own_ports
from core.egress.targets import TargetPolicy
from core.errors import TargetForbidden
from core.settings import (
    DatabaseSettings,
    EgressSettings,
    IngressSettings,
    KafkaSettings,
    SecretSettings,
    StandaloneSettings,
    TelemetrySettings,
    load,
)
from core.storage import keys
from core.storage.delivery import endpoints, inboxes
from core.storage.delivery.inboxes import NewPost
from core.storage.pool import Pool, open_pool
from core.webhooks.sender import Message, WebhookSender
from core.webhooks.signature import parse_secret, sign
from core.webhooks.signing_secrets import SecretBox, make_secret
from ingress import commands
from ingress.auth.api_keys import Scope
from ingress.dependencies import MAX_INBOX_HOLDS
from tests.counting import eventually
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import MakeWorld, World

PREFIX = "http://127.0.0.1:8080/inbox/"
WEBHOOK_ID = "01890000-0000-7000-8000-000000000001"
QUERY_ID = "01890000-0000-7000-8000-000000000002"
IMAGE_ID = "0190a7c2-7e3b-7c4d-8e5f-6a7b8c9d0e1f"
DATA = {"query_id": QUERY_ID, "image": {"id": IMAGE_ID}}
BODY = json.dumps({"type": "query.completed", "data": DATA}).encode()
BOX = SecretBox.from_settings(
    SecretSettings(key=SecretStr("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="))
)


@pytest.fixture
def boxed(make_world: MakeWorld) -> World:
    """A world with a receiver in the box."""
    return make_world(policy=TargetPolicy(inbox=PREFIX), sealing=BOX)


async def secret_of(pool: Pool, owner: str) -> str:
    secret = make_secret()
    async with pool.transaction() as tx:
        await keys.add_secret(tx, owner, BOX.seal(secret, owner=owner).encode())
    return secret


def signed(world: World, secret: str, body: bytes = BODY, **more: str) -> dict[str, str]:
    sent_at = int(world.now.timestamp())
    return {
        "content-type": "application/json",
        "webhook-id": WEBHOOK_ID,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": sign(WEBHOOK_ID, sent_at, body, [parse_secret(secret)]),
    } | more


async def make_inbox(http: httpx.AsyncClient, **asked: Any) -> str:
    made = await http.post("/inbox", json=asked)
    assert made.status_code == 200, made.text
    assert made.json()["url"] == PREFIX + made.json()["token"]
    return str(made.json()["token"])


async def posts(http: httpx.AsyncClient, token: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await http.get(f"/inbox/{token}")).json()["posts"]
    return found


async def test_a_post_is_shown_with_its_signature_checked(boxed: World) -> None:
    secret = await secret_of(boxed.pool, "alice")
    async with boxed.client(Scope.QUERY) as http, boxed.client() as sender:
        token = await make_inbox(http)
        right = signed(boxed, secret, cookie="session=s3cret")
        first = await sender.post(f"/inbox/{token}", content=BODY, headers=right)
        wrong = signed(boxed, make_secret())
        second = await sender.post(f"/inbox/{token}", content=BODY, headers=wrong)
        newest, oldest = await posts(http, token)

    assert (first.status_code, second.status_code) == (200, 200)
    assert oldest["signature_ok"] is True
    assert newest["signature_ok"] is False
    assert (oldest["webhook_id"], oldest["query_id"]) == (WEBHOOK_ID, QUERY_ID)
    assert oldest["image_id"] == IMAGE_ID
    assert (oldest["type"], oldest["answered"]) == ("query.completed", 200)
    assert (oldest["attempt_seen"], newest["attempt_seen"]) == (1, 2)
    assert (oldest["body"], oldest["body_bytes"]) == (BODY.decode(), len(BODY))
    assert ["webhook-id", WEBHOOK_ID] in oldest["headers"]
    assert ["cookie", "(not kept)"] in oldest["headers"]


async def test_an_address_with_a_secret_of_its_own_is_checked_with_that(boxed: World) -> None:
    of_owner = await secret_of(boxed.pool, "alice")
    async with boxed.client(Scope.QUERY) as http, boxed.client() as sender:
        token = await make_inbox(http)
        async with boxed.pool.transaction() as tx:
            made = await endpoints.add(tx, owner="alice", url=PREFIX + token, name="")
            assert made is not None
        own = await secret_of(boxed.pool, made.secrets_owner)
        for secret in (of_owner, own):
            headers = signed(boxed, secret)
            await sender.post(f"/inbox/{token}", content=BODY, headers=headers)
        newest, oldest = await posts(http, token)

    assert (newest["signature_ok"], oldest["signature_ok"]) == (True, False)


@pytest.mark.parametrize(("kind", "status"), [("500", 500), ("410", 410), ("redirect", 302)])
async def test_it_answers_as_it_is_told(boxed: World, kind: str, status: int) -> None:
    async with boxed.client(Scope.QUERY) as http, boxed.client() as sender:
        token = await make_inbox(http)
        told = await http.put(f"/inbox/{token}", json={"answer": {"kind": kind}})
        answer = await sender.post(f"/inbox/{token}", content=BODY)
        [post] = await posts(http, token)

    assert told.json()["answer"]["kind"] == kind
    assert (answer.status_code, post["answered"]) == (status, status)
    assert answer.headers.get("location") == (PREFIX + token if kind == "redirect" else None)


async def test_a_slow_answer_comes_later_and_others_are_served_meanwhile(boxed: World) -> None:
    async with boxed.client(Scope.QUERY) as http, boxed.client() as sender:
        token = await make_inbox(http)
        await http.put(f"/inbox/{token}", json={"answer": {"kind": "slow", "delay_s": 0.3}})
        slow = asyncio.create_task(sender.post(f"/inbox/{token}", content=BODY))
        while not await posts(http, token):
            assert not slow.done()
        [waiting] = await posts(http, token)
        answer = await slow
        [answered] = await posts(http, token)

    assert (answer.status_code, answered["answered"]) == (200, 200)
    assert waiting["answered"] in {None, 200}  # on a slow machine it may have come by then


async def test_answers_that_never_come_are_bounded_and_end_with_the_process(boxed: World) -> None:
    share = MAX_INBOX_HOLDS // 4
    async with boxed.client(Scope.QUERY) as http, boxed.client() as sender:
        token = await make_inbox(http)
        await http.put(f"/inbox/{token}", json={"answer": {"kind": "never"}})
        held = [
            asyncio.create_task(sender.post(f"/inbox/{token}", content=BODY)) for _ in range(share)
        ]
        while boxed.deps.inbox_holds.used < share:
            await asyncio.sleep(0.01)
        refused = await sender.post(f"/inbox/{token}", content=BODY)
        seen = await posts(http, token)
        boxed.deps.readiness.is_ready = False
        ended = await asyncio.gather(*held)

    problem_in(refused, "rate_limited")
    assert {answer.status_code for answer in ended} == {503}
    assert [post["answered"] for post in seen] == [None] * (share + 1)
    assert boxed.deps.inbox_holds.used == 0


async def test_posts_are_bounded_in_number_and_size(boxed: World) -> None:
    async with boxed.client(Scope.QUERY) as http, boxed.client() as sender:
        token = await make_inbox(http)
        large = b"x" * 200_000
        for _ in range(101):
            await sender.post(f"/inbox/{token}", content=BODY)
        await sender.post(f"/inbox/{token}", content=large)
        shown = (await http.get(f"/inbox/{token}")).json()
        too_large = await sender.post(
            f"/inbox/{token}", content=b"", headers={"content-length": str(2**30)}
        )
        cleared = await http.delete(f"/inbox/{token}/posts")
        left = await posts(http, token)

    assert (len(shown["posts"]), shown["received"]) == (100, 102)
    assert await boxed.count("inbox_posts") == 0
    assert (len(shown["posts"][0]["body"]), shown["posts"][0]["body_bytes"]) == (65_536, 200_000)
    problem_in(too_large, "body_too_large")
    assert cleared.json()["received"] == 102
    assert left == []


async def test_an_owner_has_one_inbox_unless_more_are_asked_for(boxed: World) -> None:
    async with boxed.client(Scope.QUERY) as http, boxed.client(Scope.QUERY, owner="bob") as other:
        first, again = await make_inbox(http), await make_inbox(http)
        more = {await make_inbox(http, another=True) for _ in range(9)}
        refused = await http.post("/inbox", json={"another": True})
        not_his = await other.get(f"/inbox/{first}")
        his = await make_inbox(other)

    assert first == again
    assert len({first, his, *more}) == 11
    problem_in(refused, "inboxes_exist")
    problem_in(not_his, "inbox_not_found")


async def test_elsewhere_than_in_the_standalone_mode_there_are_none(world: World) -> None:
    async with world.client(Scope.QUERY) as http:
        for answer in (
            await http.post("/inbox", json={}),
            await http.get("/inbox/abc"),
            await http.post("/inbox/abc", content=BODY),
        ):
            problem_in(answer, "inbox_not_found")


async def test_a_query_to_the_inbox_is_accepted_and_to_its_neighbours_refused(boxed: World) -> None:
    async with boxed.client(Scope.QUERY) as http:
        token = await make_inbox(http)
        asked = {
            url: await http.post("/images/tags", json={"text": "cat", "callback_url": url})
            for url in (PREFIX + token, PREFIX + token + "/posts", PREFIX + "x/../" + token)
        }

    codes = [answer.status_code for answer in asked.values()]
    assert codes == [202, 422, 422]


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"[1]", b'{"data": 1, "type": {}}', b'{"data": {"image": []}}']
)
async def test_what_is_no_webhook_is_shown_all_the_same(boxed: World, content: bytes) -> None:
    async with boxed.client(Scope.QUERY) as http, boxed.client() as sender:
        token = await make_inbox(http)
        await sender.post(f"/inbox/{token}", content=content)
        [post] = await posts(http, token)

    assert (post["type"], post["query_id"], post["signature_ok"]) == (None, None, False)
    assert post["body_bytes"] == len(content)


async def test_over_the_wire_the_guarded_client_reaches_the_inbox_and_nothing_beside_it(
    start: Callable[..., Any], environment: Callable[..., None], tmp_path: Path
) -> None:
    environment(STANDALONE_HOME=str(tmp_path), EGRESS_ALLOWED_PORTS="1-65535")
    environment(EGRESS_ALLOW_HTTP="true", EGRESS_ALLOWED_HOSTS="localhost,127.0.0.0/8")
    server = await asyncio.to_thread(start)
    environment(INGRESS_PORT=str(server.port))
    made = await commands.create(
        commands.KeyRequest("alice", scopes=(Scope.QUERY,)), if_absent=False
    )
    assert made is not None
    ingress, standalone = load(IngressSettings), load(StandaloneSettings)
    own = own_ports(
        ingress, load(KafkaSettings), load(DatabaseSettings), load(TelemetrySettings), standalone
    )
    async with (
        httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": made.key}) as http,
        open_client(load(EgressSettings), own, inbox_prefix(ingress, standalone)) as client,
        open_pool(load(DatabaseSettings)) as pool,
    ):
        box = (await http.post("/inbox", json={})).json()
        [sealed] = await keys.signing_secrets(pool, "alice")
        secret = SecretBox.from_settings(load(SecretSettings)).open(sealed.decode(), owner="alice")
        sender = WebhookSender(client, timeout_s=10.0)
        answer = await sender.send(
            Message(UUID(WEBHOOK_ID), box["url"], BODY, (secret,)), now=datetime.now(UTC)
        )
        for url in (
            box["url"] + "/posts",
            f"{server.url}/images/upload",
            box["url"].replace("127.0.0.1", "localhost"),
        ):
            with pytest.raises(TargetForbidden, match="the archive itself listens"):
                await client.post(url, content=b"", headers={}, timeout_s=5, body_s=1)
        with pytest.raises(TargetForbidden):
            await client.get(box["url"], max_bytes=10, timeout_s=5)
        seen = (await http.get(f"/inbox/{box['token']}")).json()["posts"]

    assert answer.status == 200
    assert [post["signature_ok"] for post in seen] == [True]


async def test_posts_that_come_together_are_counted_one_after_the_other(boxed: World) -> None:
    post = NewPost(WEBHOOK_ID, (), b"{}", 2, None, None, None, None)
    await inboxes.add(boxed.pool, "t" * 43, "alice", {"kind": "200"})

    async def come() -> None:
        async with boxed.pool.transaction() as tx:
            await inboxes.add_post(tx, "t" * 43, post)

    async with boxed.pool.transaction() as tx:
        await inboxes.add_post(tx, "t" * 43, post)
        second = asyncio.create_task(come())
        await eventually(lambda: waits_for_a_lock(boxed.pool), within_s=30, what="the second post")
    await second

    kept = await inboxes.posts(boxed.pool, "t" * 43)
    assert [one.attempt_seen for one in kept] == [2, 1]


async def waits_for_a_lock(pool: Pool) -> bool:
    found: bool = await pool.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )
    return found
